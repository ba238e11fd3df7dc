--- Rays through scenes of shapes.
local vec3 = require("vec3")
local shapes = require("geometry.shapes")

local geometry = { sphere = shapes.sphere, plane = shapes.plane }

--- Makes a ray from a point in a direction, which becomes a unit vector.
function geometry.ray(origin, direction)
  return { origin = origin, direction = vec3.unit(direction) }
end

--- Gives the point at a distance along a ray.
function geometry.at(ray, distance)
  return ray.origin + ray.direction * distance
end

--- Gives the nearest hit of a ray in a list of shapes, or nil.
function geometry.nearest(ray, scene)
  local nearest
  for _, shape in ipairs(scene) do
    local distance = shape:hit(ray)
    if distance and (not nearest or distance < nearest.distance) then
      nearest = { distance = distance, shape = shape }
    end
  end
  if nearest then
    nearest.point = geometry.at(ray, nearest.distance)
    nearest.normal = nearest.shape:normal(nearest.point)
  end
  return nearest
end

--- Reflects a direction at a surface with a normal.
function geometry.reflect(direction, normal)
  return direction - normal * (2 * vec3.dot(direction, normal))
end

return geometry
