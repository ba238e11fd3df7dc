--- Vectors of three numbers. Values are never changed; every operation gives a new vector.
local vec3 = {}
vec3.__index = vec3

--- Makes a vector.
function vec3.new(x, y, z)
  return setmetatable({ x = x, y = y, z = z }, vec3)
end

function vec3.__add(a, b)
  return vec3.new(a.x + b.x, a.y + b.y, a.z + b.z)
end

function vec3.__sub(a, b)
  return vec3.new(a.x - b.x, a.y - b.y, a.z - b.z)
end

--- Scales a vector by a number on either side.
function vec3.__mul(a, b)
  if type(a) == "number" then
    a, b = b, a
  end
  return vec3.new(a.x * b, a.y * b, a.z * b)
end

function vec3.__unm(a)
  return vec3.new(-a.x, -a.y, -a.z)
end

function vec3.__eq(a, b)
  return a.x == b.x and a.y == b.y and a.z == b.z
end

function vec3.__tostring(a)
  return string.format("(%g, %g, %g)", a.x, a.y, a.z)
end

--- Gives the scalar product.
function vec3.dot(a, b)
  return a.x * b.x + a.y * b.y + a.z * b.z
end

--- Gives the vector product.
function vec3.cross(a, b)
  return vec3.new(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x)
end

--- Gives the length.
function vec3.length(a)
  return math.sqrt(vec3.dot(a, a))
end

--- Gives the vector of length 1 in the same direction.
function vec3.unit(a)
  return a * (1 / vec3.length(a))
end

return vec3
