--- Histograms of samples, as counts and as text.
local histogram = {}

--- Counts a sample in equal bins between its bounds.
function histogram.count(sample, bins)
  local low, high = math.huge, -math.huge
  for _, value in ipairs(sample) do
    low, high = math.min(low, value), math.max(high, value)
  end
  local counts = {}
  for bin = 1, bins do
    counts[bin] = 0
  end
  local width = high > low and (high - low) / bins or 1
  for _, value in ipairs(sample) do
    local bin = math.min(bins, 1 + math.floor((value - low) / width))
    counts[bin] = counts[bin] + 1
  end
  return { counts = counts, low = low, width = width }
end

--- Draws a histogram with bars of at most `columns` characters.
function histogram.draw(counted, columns)
  local most = math.max(table.unpack(counted.counts))
  local lines = {}
  for bin, count in ipairs(counted.counts) do
    local from = counted.low + (bin - 1) * counted.width
    lines[bin] = string.format("%9.3f | %s %d", from, ("#"):rep(count * columns // most), count)
  end
  return table.concat(lines, "\n")
end

return histogram
