-- Makes a configuration script a function of its arguments: what could tell one run from another is taken away or replaced
-- before the script is read. It runs behind the prelude of the engine, which has taken away what reaches outside.
local concat, pack, unpack = table.concat, table.pack, table.unpack
local raw_tostring, raw_print, raw_format, raw_next = tostring, print, string.format, next
local type, error, getmetatable, rawequal = type, error, getmetatable, rawequal
local find = string.find

storage, env, warn = nil, nil, nil

local function unpredictable()
  error("a configuration script has no random numbers: what it gives depends on its arguments alone", 2)
end
math.random, math.randomseed = unpredictable, unpredictable

-- A text of a table would hold its address.
function tostring(value)
  local kind = type(value)
  if kind == "table" or kind == "function" or kind == "thread" or kind == "userdata" then
    local meta = getmetatable(value)
    if type(meta) == "table" and meta.__tostring ~= nil then return meta.__tostring(value) end
    return kind
  end
  return raw_tostring(value)
end
local tostring = tostring

function print(...)
  local parts = pack(...)
  for i = 1, parts.n do parts[i] = tostring(parts[i]) end
  raw_print(concat(parts, "\t", 1, parts.n))
end

function string.format(form, ...)
  if type(form) == "string" and find(form, "%%[-+ #0-9.]*p") then
    error("`%p` is not available in a configuration script", 2)
  end
  local parts = pack(...)
  for i = 1, parts.n do
    local kind = type(parts[i])
    if kind == "table" or kind == "function" or kind == "thread" then parts[i] = tostring(parts[i]) end
  end
  return raw_format(form, unpack(parts, 1, parts.n))
end

-- Lua's own sort chooses its pivots by the clock, which shows where a comparison calls two elements equal.
local function sort(list, less)
  less = less or function(a, b) return a < b end
  local count = #list
  local from, to = list, {}
  local width = 1
  while width < count do
    for low = 1, count, 2 * width do
      local left, right = low, low + width
      local left_end, right_end = right, low + 2 * width
      if left_end > count + 1 then left_end = count + 1 end
      if right_end > count + 1 then right_end = count + 1 end
      for at = low, right_end - 1 do
        if left < left_end and (right >= right_end or not less(from[right], from[left])) then
          to[at], left = from[left], left + 1
        else
          to[at], right = from[right], right + 1
        end
      end
    end
    if from == list then from, to = to, {} else from, to = to, from end
    width = 2 * width
  end
  if from ~= list then for i = 1, count do list[i] = from[i] end end
end
function table.sort(list, less) sort(list, less) end

-- Tables come in the order of their keys: numbers, then texts, then the rest as it was; Lua's order differs from run to run.
local rank = { number = 1, string = 2, boolean = 3 }
local function keys_of(value)
  local keys = {}
  for key in raw_next, value do
    if not rank[type(key)] then error("a configuration script has only numbers, texts and booleans as keys", 3) end
    keys[#keys + 1] = key
  end
  sort(keys, function(a, b)
    local left, right = rank[type(a)], rank[type(b)]
    if left ~= right then return left < right end
    if left == 3 then return not a and b end
    return a < b
  end)
  return keys
end

function pairs(value)
  if type(value) ~= "table" then error("bad argument #1 to 'pairs' (table expected, got " .. type(value) .. ")", 2) end
  local keys, at = keys_of(value), 0
  return function()
    while true do
      at = at + 1
      local key = keys[at]
      if key == nil then return nil end
      local found = value[key]
      if found ~= nil then return key, found end
    end
  end, value, nil
end

function next(value, key)
  local keys = keys_of(value)
  if key == nil then return keys[1], value[keys[1]] end
  for i = 1, #keys do
    if rawequal(keys[i], key) then return keys[i + 1], value[keys[i + 1]] end
  end
  error("invalid key to 'next'", 2)
end

local configure = require("script")
if type(configure) ~= "function" then
  error("a configuration script ends with `return function(parameters, about) ... end`", 0)
end
return configure
