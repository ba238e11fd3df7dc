--- Statistics of samples, which are lists of numbers with at least one.
local random = require("random")
local histogram = require("statistics.histogram")

local statistics = { histogram = histogram }

--- Gives the mean and the variance of a sample in one pass (Welford).
local function moments(sample)
  local mean, squares = 0.0, 0.0
  for index, value in ipairs(sample) do
    local difference = value - mean
    mean = mean + difference / index
    squares = squares + difference * (value - mean)
  end
  return mean, #sample > 1 and squares / (#sample - 1) or 0.0
end

--- Gives the mean.
function statistics.mean(sample)
  return (moments(sample))
end

--- Gives the standard deviation of a sample.
function statistics.deviation(sample)
  local _, variance = moments(sample)
  return math.sqrt(variance)
end

--- Gives a quantile, such as 0.5 for the median, between the two nearest values.
function statistics.quantile(sample, share)
  local sorted = table.move(sample, 1, #sample, 1, {})
  table.sort(sorted)
  local place = 1 + share * (#sorted - 1)
  local low = math.floor(place)
  local high = math.min(low + 1, #sorted)
  return sorted[low] + (place - low) * (sorted[high] - sorted[low])
end

--- Gives slope and intercept of the line of least squares through pairs of numbers.
function statistics.line(xs, ys)
  local mean_x, mean_y = statistics.mean(xs), statistics.mean(ys)
  local products, squares = 0.0, 0.0
  for index, x in ipairs(xs) do
    products = products + (x - mean_x) * (ys[index] - mean_y)
    squares = squares + (x - mean_x) ^ 2
  end
  local slope = products / squares
  return slope, mean_y - slope * mean_x
end

--- Gives the bounds that hold the mean in a share of resamples (bootstrap).
function statistics.confidence(sample, share, resamples, seed)
  local numbers = random.new(seed)
  local means = {}
  for index = 1, resamples do
    local total = 0.0
    for _ = 1, #sample do
      total = total + sample[numbers:integer(1, #sample)]
    end
    means[index] = total / #sample
  end
  local tail = (1 - share) / 2
  return statistics.quantile(means, tail), statistics.quantile(means, 1 - tail)
end

return statistics
