--- Tests: `catalog run ./ --function test`.
local function check(name, holds)
  if not holds then error("`" .. name .. "` does not hold", 2) end
end

--- Gives how many things hold.
return function(csv, stages)
  local rows = csv.read('name,sum\n"a, b",1\n"say ""hi""",2\n', ",")
  check("fields may be quoted", rows[1].name == "a, b" and rows[2].name == 'say "hi"')
  check("a quoted field must end", not pcall(csv.read, 'name\n"a', ","))
  check("a quoted field ends its field", not pcall(csv.read, 'name\n"a"b', ","))
  check("lines end in either way", #csv.read("a,b\r\n1,\r\n\n2,3", ",") == 2)
  check("an empty text has no rows", #csv.read("", ",") == 0)
  check("rows with a gap are left out", #stages.complete({ "a" })({ { a = "1" }, { a = "" } }) == 1)
  local before = { { a = "1" } }
  check("what is no number is left out", #stages.numbers("a")({ { a = "x" }, { a = "2" } }) == 1)
  check("rows stay as they were", stages.numbers("a")(before)[1].a == 1 and before[1].a == "1")
  local groups = stages.group("k", "v")({ { k = "x", v = 1 }, { k = "y", v = 5 }, { k = "x", v = 2 } })
  check("values are summed by group", groups[1].sum == 3 and groups[1].count == 2)
  check("the largest comes first", stages.order("sum")(groups)[1].group == "y")
  return 10
end
