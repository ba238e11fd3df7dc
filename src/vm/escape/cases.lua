-- Attacks in Lua. Each is a function of the table that this text returns, below a line that says what it tries and, in
-- brackets, how it may end other than by an answer.

local function absent(value, name)
  if value == nil then return "contained: " .. name .. " is absent" end
  return "escaped: " .. name .. " is there"
end

local function fails(what, f, ...)
  local ok, message = pcall(f, ...)
  if ok then return "escaped: " .. what end
  return "contained: " .. tostring(message)
end

local cases = {}

--: lua-io: reaches files by `io`
cases["lua-io"] = function() return absent(io, "io") end

--: lua-os: reaches the system by `os`
cases["lua-os"] = function() return absent(os and (os.execute or os.getenv or os.remove or os.exit), "os") end

--: lua-debug: looks into other functions by `debug`
cases["lua-debug"] = function() return absent(debug, "debug") end

--: lua-package: loads libraries by `package`
cases["lua-package"] = function() return absent(package, "package") end

--: lua-dofile: runs a file of the host
cases["lua-dofile"] = function() return absent(dofile, "dofile") end

--: lua-loadfile: loads a file of the host
cases["lua-loadfile"] = function() return absent(loadfile, "loadfile") end

--: lua-collectgarbage: drives the collector
cases["lua-collectgarbage"] = function() return absent(collectgarbage, "collectgarbage") end

--: lua-dump: writes bytecode
cases["lua-dump"] = function() return absent(string.dump, "string.dump") end

--: lua-bytecode: loads bytecode, which no checker has seen
cases["lua-bytecode"] = function()
  local chunk = load("\27Lua\x54\0\x19\x93\r\n\x1a\n\4\8\8xV\0\0\0\0\0\0\0\0\0\0\0(w@\1\x80\0\0\0", "b", "b")
  return absent(chunk, "a binary chunk")
end

--: lua-bytecode-reader: loads bytecode in pieces
cases["lua-bytecode-reader"] = function()
  local pieces, index = { "\27", "Lua", "\x54\0\x19\x93\r\n\x1a\n" }, 0
  local ok, chunk = pcall(load, function() index = index + 1 return pieces[index] end, "b", "bt")
  return absent(ok and chunk or nil, "a binary chunk")
end

--: lua-require-host: requires a module of the host
cases["lua-require-host"] = function() return fails("a module of the host was loaded", require, "os") end

--: lua-require-path: requires a module by a path
cases["lua-require-path"] = function() return fails("a file was loaded", require, "../../../../etc/passwd") end

--: lua-require-library: requires a shared library
cases["lua-require-library"] = function() return fails("a library was loaded", require, "socket.core") end

--: lua-environment: reaches another environment by a loaded chunk
cases["lua-environment"] = function()
  local chunk = load("return io or os or debug or package or dofile", "x", "t")
  return absent(chunk and chunk(), "what is not in the sandbox")
end

--: lua-globals: finds what is hidden in the table of globals
cases["lua-globals"] = function()
  for name, value in pairs(_G) do
    if name == "io" or name == "debug" or name == "package" or type(value) == "userdata" then
      return "escaped: _G has " .. tostring(name)
    end
  end
  return "contained: _G has nothing of the host"
end

--: lua-registry: finds the registry
cases["lua-registry"] = function()
  for _, value in pairs(_G) do
    if type(value) == "table" and rawget(value, "_LOADED") ~= nil then return "escaped: the registry is there" end
  end
  return "contained: no table is the registry"
end

--: lua-string-metatable: changes strings for everybody, and meets nobody
cases["lua-string-metatable"] = function()
  local ok = pcall(function() getmetatable("").__index.upper = function() return "taken" end end)
  return "contained: only this program's own state is changed (" .. tostring(ok) .. ")"
end

--: lua-rep-bomb: makes a text of boundless length [memory]
cases["lua-rep-bomb"] = function() return fails("a text of 2^40 bytes was made", string.rep, "x", 1 << 40) end

--: lua-rep-separator-bomb: makes a text of boundless length by its separator [memory]
cases["lua-rep-separator-bomb"] = function()
  return fails("a text of 2^40 bytes was made", string.rep, "", 1 << 30, ("x"):rep(1024))
end

--: lua-concat-bomb: doubles a text without end [memory]
cases["lua-concat-bomb"] = function()
  local text = "x"
  local ok, message = pcall(function() while true do text = text .. text end end)
  return ok and "escaped: no end" or "contained: " .. tostring(message)
end

--: lua-table-bomb: fills a table without end [memory]
cases["lua-table-bomb"] = function()
  local ok, message = pcall(function() local t = {} for i = 1, math.maxinteger do t[i] = i end end)
  return ok and "escaped: no end" or "contained: " .. tostring(message)
end

--: lua-concat-table-bomb: joins a large table many times [memory]
cases["lua-concat-table-bomb"] = function()
  local part, parts = ("x"):rep(1 << 20), {}
  for i = 1, 1 << 16 do parts[i] = part end
  return fails("64 GiB were joined", table.concat, parts)
end

--: lua-format-bomb: formats a text of boundless width [memory]
cases["lua-format-bomb"] = function() return fails("a width of 10^9", string.format, "%1000000000d", 1) end

--: lua-pack-bomb: packs a text of boundless length [memory]
cases["lua-pack-bomb"] = function() return fails("2^31 bytes were packed", string.pack, "c2147483647", "x") end

--: lua-gsub-bomb: replaces by what grows [memory]
cases["lua-gsub-bomb"] = function()
  local ok, message = pcall(function()
    local text = ("x"):rep(1 << 16)
    while true do text = text:gsub("x", "xx") end
  end)
  return ok and "escaped: no end" or "contained: " .. tostring(message)
end

--: lua-unpack-bomb: unpacks more values than a stack holds
cases["lua-unpack-bomb"] = function() return fails("10^8 values", table.unpack, {}, 1, 100000000) end

--: lua-coroutine-bomb: makes coroutines without end [memory]
cases["lua-coroutine-bomb"] = function()
  local ok, message = pcall(function()
    local all = {}
    while true do all[#all + 1] = coroutine.wrap(function() coroutine.yield() end) end
  end)
  return ok and "escaped: no end" or "contained: " .. tostring(message)
end

--: lua-recursion: recurses without end
cases["lua-recursion"] = function()
  local function deeper(n) return 1 + deeper(n + 1) end
  return fails("the stack has no end", deeper, 1)
end

--: lua-c-recursion: recurses through the interpreter
cases["lua-c-recursion"] = function()
  local t = setmetatable({}, {})
  getmetatable(t).__index = function(self, key) return self[key + 1] end
  return fails("the stack has no end", function() return t[1] end)
end

--: lua-parser-bomb: nests a text deeper than the parser goes
cases["lua-parser-bomb"] = function()
  local chunk = load(("("):rep(100000) .. "1" .. (")"):rep(100000), "x", "t")
  return absent(chunk, "a chunk nested 100,000 deep")
end

--: lua-loop: runs without end [time]
cases["lua-loop"] = function() while true do end end

--: lua-protected-loop: runs without end, again and again [time]
cases["lua-protected-loop"] = function() while true do pcall(function() while true do end end) end end

--: lua-coroutine-loop: runs without end in a coroutine [time]
cases["lua-coroutine-loop"] = function() coroutine.wrap(function() while true do end end)() end

--: lua-pattern-loop: hangs the matcher of patterns [time]
cases["lua-pattern-loop"] = function() return ("a"):rep(30):find(("a?"):rep(30) .. ("a"):rep(30)) end

--: lua-close-loop: runs without end while a variable is closed [time]
cases["lua-close-loop"] = function()
  local t <close> = setmetatable({}, { __close = function() while true do end end })
end

--: lua-finaliser-loop: runs without end in a finaliser [time, error]
cases["lua-finaliser-loop"] = function()
  setmetatable({}, { __gc = function() while true do end end })
  local all = {}
  while true do all[#all + 1] = {} all = #all > 1000 and {} or all end
end

--: lua-sort-loop: sorts by an order that contradicts itself [time]
cases["lua-sort-loop"] = function()
  local t = {}
  for i = 1, 1000 do t[i] = i end
  return fails("sorted", table.sort, t, function() while true do end end)
end

--: lua-print-flood: prints without end [output]
cases["lua-print-flood"] = function() while true do print(("x"):rep(1000)) end end

--: lua-warn-flood: warns without end [output]
cases["lua-warn-flood"] = function() while true do warn(("x"):rep(1000)) end end

--: lua-deep-result: gives a value of boundless depth back [error]
cases["lua-deep-result"] = function()
  local deep = {}
  for _ = 1, 10000 do deep = { deep } end
  return deep
end

--: lua-cyclic-result: gives a value back that holds itself [error]
cases["lua-cyclic-result"] = function()
  local round = {}
  round[1] = round
  return round
end

--: lua-large-result: gives more back than a message holds [error, memory]
cases["lua-large-result"] = function() return ("x"):rep(20 << 20) end

--: lua-function-result: gives a function back [error]
cases["lua-function-result"] = function() return function() end end

--: lua-error-object: raises an error whose text runs without end [time, error]
cases["lua-error-object"] = function()
  error(setmetatable({}, { __tostring = function() while true do end end }))
end

return cases
