--- Tests: `catalog run ./ --function test`.
local function check(name, holds)
  if not holds then error("`" .. name .. "` does not hold", 2) end
end

--- Gives how many things hold.
return function(words)
  local counts = words.count("To be, or not to be")
  check("words count without regard to case", counts.of.to == 2 and counts.of.be == 2)
  check("all words are counted", counts.total == 6 and counts.different == 4)
  local top = words.top(counts, 3)
  check("the most frequent come first", top[1].word == "be" and top[2].word == "to" and top[3].word == "not")
  check("an empty text has no words", words.count("").total == 0)
  return 4
end
