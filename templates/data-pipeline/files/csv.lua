--- Reads CSV (RFC 4180): fields may be quoted, and a quote in quotes is written twice.
local csv = {}

--- The longest text that is read, in bytes.
csv.BYTES_MAX = 16 * 1024 * 1024

--- Reads a quoted field from behind its quote; gives it and where it ends.
local function quoted(text, at)
  local parts = {}
  while true do
    local stop = text:find('"', at, true)
    if not stop then error("a quoted field does not end", 0) end
    parts[#parts + 1] = text:sub(at, stop - 1)
    if text:sub(stop + 1, stop + 1) ~= '"' then return table.concat(parts), stop + 1 end
    parts[#parts + 1], at = '"', stop + 2
  end
end

--- Reads a field; gives it and where the separator or the end of the line stands behind it.
local function field(text, at, separator)
  local ends = "[\r\n%" .. separator .. "]"
  if text:sub(at, at) ~= '"' then
    local stop = text:find(ends, at) or #text + 1
    return text:sub(at, stop - 1), stop
  end
  local value, stop = quoted(text, at + 1)
  if stop <= #text and not text:find("^" .. ends, stop) then error("something stands behind a quoted field", 0) end
  return value, stop
end

--- Gives the fields of every record of a text; empty lines are none.
local function records(text, separator)
  local all, fields, at = {}, {}, 1
  while at <= #text do
    local value, stop = field(text, at, separator)
    fields[#fields + 1] = value
    at = stop + 1
    if text:sub(stop, stop) ~= separator then
      if text:sub(stop, at) == "\r\n" then at = at + 1 end
      if #fields > 1 or fields[1] ~= "" then all[#all + 1] = fields end
      fields = {}
    elseif at > #text then
      fields[#fields + 1] = ""
    end
  end
  if #fields > 0 then all[#all + 1] = fields end
  return all
end

--- Gives the rows of a text as tables by the names of its first record.
function csv.read(text, separator)
  if #text > csv.BYTES_MAX then error("the text has more than " .. csv.BYTES_MAX .. " bytes", 0) end
  local all = records(text, separator)
  local names = table.remove(all, 1) or {}
  local rows = {}
  for index, fields in ipairs(all) do
    local row = {}
    for column, name in ipairs(names) do row[name] = fields[column] or "" end
    rows[index] = row
  end
  return rows
end

return csv
