--- Reads CSV (RFC 4180): fields may be quoted, and a quote in quotes is written twice.
local csv = {}

--- The longest text that is read, in bytes.
csv.BYTES_MAX = 16 * 1024 * 1024

--- Gives the fields of every record of a text.
local function records(text, separator)
  local all, fields, part, quoted = {}, {}, {}, false
  local function field() fields[#fields + 1], part = table.concat(part), {} end
  local function record()
    field()
    if #fields > 1 or fields[1] ~= "" then all[#all + 1] = fields end
    fields = {}
  end
  local at, length = 1, #text
  while at <= length do
    local c = text:sub(at, at)
    if quoted then
      if c == '"' and text:sub(at + 1, at + 1) == '"' then
        part[#part + 1], at = '"', at + 1
      elseif c == '"' then
        quoted = false
      else
        part[#part + 1] = c
      end
    elseif c == '"' and #part == 0 then
      quoted = true
    elseif c == separator then
      field()
    elseif c == "\n" then
      record()
    elseif c ~= "\r" then
      part[#part + 1] = c
    end
    at = at + 1
  end
  if quoted then error("a quoted field does not end", 0) end
  if #part > 0 or #fields > 0 then record() end
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
