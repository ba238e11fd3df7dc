--- Renders mirroring spheres on a chequered floor as text.
local vec3 = require("vec3")
local geometry = require("geometry")

local palette = " .:-=+*#%@"
local bounces_max = 3
local light = vec3.unit(vec3.new(-0.6, 1, -0.7))

local scene = {
  geometry.sphere(vec3.new(0, 0.1, 4.2), 1.1, { shade = 0.95, mirror = 0.35 }),
  geometry.sphere(vec3.new(-1.9, -0.35, 3.4), 0.65, { shade = 0.75, mirror = 0.15 }),
  geometry.sphere(vec3.new(1.75, -0.45, 3.0), 0.55, { shade = 1.0, mirror = 0.5 }),
  geometry.sphere(vec3.new(0.55, -0.75, 2.2), 0.25, { shade = 0.85, mirror = 0.1 }),
  geometry.plane(-1, { shade = 0.7, mirror = 0.1, is_chequered = true }),
}

local function shade_of(hit)
  local look = hit.shape.look
  if not look.is_chequered then
    return look.shade
  end
  local square = math.floor(hit.point.x) + math.floor(hit.point.z)
  return square % 2 == 0 and look.shade or look.shade * 0.35
end

local function sky(direction)
  return 0.01 + 0.25 * math.max(0, direction.y) ^ 2
end

--- Gives the brightness, 0 to 1, that a ray sees, and whether it hit something.
local function trace(ray, bounces)
  local hit = geometry.nearest(ray, scene)
  if not hit or hit.distance > 30 then
    return sky(ray.direction), false
  end
  local to_light = geometry.ray(hit.point, light)
  local lit = geometry.nearest(to_light, scene) and 0 or math.max(0, vec3.dot(hit.normal, light))
  local brightness = shade_of(hit) * (0.12 + 0.88 * lit)
  if lit > 0 then
    local glance = vec3.dot(geometry.reflect(ray.direction, hit.normal), light)
    brightness = brightness + 0.6 * math.max(0, glance) ^ 24
  end
  local mirror = hit.shape.look.mirror
  if mirror > 0 and bounces < bounces_max then
    local mirrored = geometry.ray(hit.point, geometry.reflect(ray.direction, hit.normal))
    brightness = brightness + mirror * trace(mirrored, bounces + 1)
  end
  return math.min(1, brightness), true
end

local function character(brightness)
  local index = 1 + math.floor(brightness ^ 0.8 * (#palette - 1) + 0.5)
  return palette:sub(index, index)
end

--- Renders the scene; `options.width` and `options.height` count characters.
local function main(options)
  options = options or {}
  local width, height = options.width or 72, options.height or 28
  local hits, total, lines = 0, 0.0, {}
  for row = 1, height do
    local line = {}
    for column = 1, width do
      local x = (column - 0.5) / width * 2 - 1
      local y = 1 - (row - 0.5) / height * 2
      local direction = vec3.new(x * 1.0, y * 0.62 - 0.12, 1.25)
      local brightness, is_hit = trace(geometry.ray(vec3.new(0, 0.15, -1), direction), 0)
      hits = hits + (is_hit and 1 or 0)
      total = total + brightness
      line[column] = character(brightness)
    end
    lines[row] = table.concat(line)
  end
  local image = table.concat(lines, "\n")
  print(image)
  return { width = width, height = height, hits = hits, brightness = total / (width * height), image = image }
end

return main
