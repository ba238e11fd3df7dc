-- Turns the libraries that a state starts with into those that a program sees. It runs once in each fresh state, before
-- any module, and keeps every function it needs in locals, so nothing that a program assigns can change it. The engine
-- strips it of its lines: an error that a library function raises through it then carries no place of this file.
local write, complain, find, rep_bytes_max, ask = ...
local concat, pack, select, tostring, tonumber = table.concat, table.pack, select, tostring, tonumber
local error, getmetatable, rawget, type, len, sub = error, getmetatable, rawget, type, string.len, string.sub
local load_any, rep, set_metatable = load, string.rep, setmetatable

-- `dofile` and `loadfile` read files of the host; bytecode is not verified by Lua, so neither making nor loading it is safe.
dofile, loadfile, collectgarbage, string.dump = nil, nil, nil, nil
getmetatable("").__metatable = "strings"

local function refuse(position, name, wanted, got)
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. wanted .. " expected, got " .. type(got) .. ")", 3)
end

function print(...)
  local parts = pack(...)
  for i = 1, parts.n do parts[i] = tostring(parts[i]) end
  write(concat(parts, "\t", 1, parts.n) .. "\n")
end

function warn(first, ...)
  if type(first) ~= "string" then refuse(1, "warn", "string", first) end
  if select("#", ...) == 0 and sub(first, 1, 1) == "@" then return end
  complain("warning: " .. concat({ first, ... }) .. "\n")
end

function load(chunk, name, mode, ...)
  if mode == "b" then return nil, "binary chunks are not available" end
  return load_any(chunk, name, "t", ...)
end

function string.rep(text, count, separator)
  if type(text) ~= "string" and type(text) ~= "number" then refuse(1, "rep", "string", text) end
  local each = len(text) + (type(separator) == "string" and len(separator) or 0)
  if each * ((tonumber(count) or 0) + 0.0) > rep_bytes_max then error("resulting string too large", 2) end
  return rep(text, count, separator)
end

-- Finalizers run where no limit but the kill reaches them, and could run in somebody else's time.
function setmetatable(value, meta)
  if type(value) ~= "table" then refuse(1, "setmetatable", "table", value) end
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then error("`__gc` is not available", 2) end
  return set_metatable(value, meta)
end

-- What a program keeps; the host answers.
local function stored(what, key, value)
  if what ~= "keys" and type(key) ~= "string" then
    error("bad argument #1 to '" .. what .. "' (string expected, got " .. type(key) .. ")", 3)
  end
  local fault, found = ask(what, key, value)
  if fault then error(fault, 3) end
  return found
end

storage = {
  get = function(key) local found = stored("get", key) return found end,
  set = function(key, value) local _ = stored("set", key, value) end,
  remove = function(key) local _ = stored("remove", key) end,
  keys = function() local found = stored("keys") return found end,
}

local loaded, loading = {}, {}
local leave = set_metatable({}, { __close = function() loading[#loading] = nil end })

local function evaluate(name)
  for i = 1, #loading do
    if loading[i] == name then error("modules require each other: " .. concat(loading, " -> ", i) .. " -> " .. name, 3) end
  end
  local chunk, file = find(name)
  if chunk == nil then error(file, 3) end
  loading[#loading + 1] = name
  local _ <close> = leave
  local value = chunk(name, file)
  loaded[name] = value == nil and true or value
  return value
end

function require(name)
  if type(name) ~= "string" then refuse(1, "require", "string", name) end
  if loaded[name] == nil then evaluate(name) end
  return loaded[name]
end

return evaluate
