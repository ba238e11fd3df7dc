--- Stages of a pipeline: each makes a function from rows to rows, and leaves the rows it was given alone.
local stages = {}

--- Lets rows through that have something in every column.
function stages.complete(columns)
  return function(rows)
    local kept = {}
    for _, row in ipairs(rows) do
      local whole = true
      for _, column in ipairs(columns) do whole = whole and row[column] ~= nil and row[column] ~= "" end
      if whole then kept[#kept + 1] = row end
    end
    return kept
  end
end

--- Turns a column into numbers; rows where it is none are left out.
function stages.numbers(column)
  return function(rows)
    local kept = {}
    for _, row in ipairs(rows) do
      local number = tonumber(row[column])
      if number then
        local copy = {}
        for name, value in pairs(row) do copy[name] = value end
        copy[column] = number
        kept[#kept + 1] = copy
      end
    end
    return kept
  end
end

--- Sums one column by another.
function stages.group(by, value)
  return function(rows)
    local groups, order = {}, {}
    for _, row in ipairs(rows) do
      local key = row[by]
      if not groups[key] then
        groups[key] = { group = key, count = 0, sum = 0 }
        order[#order + 1] = groups[key]
      end
      groups[key].count = groups[key].count + 1
      groups[key].sum = groups[key].sum + row[value]
    end
    return order
  end
end

--- Puts the largest first; what is equal by the name of its group.
function stages.order(column)
  return function(rows)
    local sorted = table.move(rows, 1, #rows, 1, {})
    table.sort(sorted, function(a, b)
      if a[column] ~= b[column] then return a[column] > b[column] end
      return a.group < b.group
    end)
    return sorted
  end
end

return stages
