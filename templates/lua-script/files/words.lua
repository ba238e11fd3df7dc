--- Counts words.
local words = {}

--- Gives the counts of a text: `total`, `different`, and `of` each word in lower case.
function words.count(text)
  local counts = { total = 0, different = 0, of = {} }
  for word in text:lower():gmatch("[%w']+") do
    if not counts.of[word] then counts.different = counts.different + 1 end
    counts.of[word] = (counts.of[word] or 0) + 1
    counts.total = counts.total + 1
  end
  return counts
end

--- Gives the most frequent words; those that are equally frequent by the alphabet.
function words.top(counts, most)
  local list = {}
  for word, count in pairs(counts.of) do list[#list + 1] = { word = word, count = count } end
  table.sort(list, function(a, b)
    if a.count ~= b.count then return a.count > b.count end
    return a.word < b.word
  end)
  return table.move(list, 1, math.min(most, #list), 1, {})
end

return words
