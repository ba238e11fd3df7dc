--- Shapes that rays can hit. `hit` gives a distance beyond a small one, so a surface does not shade itself.
local vec3 = require("vec3")

local shapes = {}
local nearest_distance = 1e-4

local sphere = {}
sphere.__index = sphere

--- Makes a sphere.
function shapes.sphere(centre, radius, look)
  return setmetatable({ centre = centre, radius = radius, look = look or {} }, sphere)
end

function sphere:hit(ray)
  local offset = ray.origin - self.centre
  local b = vec3.dot(offset, ray.direction)
  local c = vec3.dot(offset, offset) - self.radius * self.radius
  local discriminant = b * b - c
  if discriminant < 0 then
    return nil
  end
  local root = math.sqrt(discriminant)
  for _, distance in ipairs({ -b - root, -b + root }) do
    if distance > nearest_distance then
      return distance
    end
  end
  return nil
end

function sphere:normal(point)
  return (point - self.centre) * (1 / self.radius)
end

local plane = {}
plane.__index = plane

--- Makes a level plane at a height.
function shapes.plane(height, look)
  return setmetatable({ height = height, look = look or {} }, plane)
end

function plane:hit(ray)
  if math.abs(ray.direction.y) < 1e-9 then
    return nil
  end
  local distance = (self.height - ray.origin.y) / ray.direction.y
  return distance > nearest_distance and distance or nil
end

function plane:normal()
  return vec3.new(0, 1, 0)
end

return shapes
