--- Prices a European call option by simulation, and exactly for comparison.
local random = require("random")
local statistics = require("statistics")

--- Gives the normal distribution function (Abramowitz and Stegun 26.2.17, error below 7.5e-8).
local function normal_share(x)
  local t = 1 / (1 + 0.2316419 * math.abs(x))
  local series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
  local tail = math.exp(-x * x / 2) / math.sqrt(2 * math.pi) * series
  return x >= 0 and 1 - tail or tail
end

local function exact_price(option)
  local spread = option.volatility * math.sqrt(option.years)
  local d = (math.log(option.price / option.strike) + (option.rate + option.volatility ^ 2 / 2) * option.years) / spread
  local discounted = option.strike * math.exp(-option.rate * option.years)
  return option.price * normal_share(d) - discounted * normal_share(d - spread)
end

--- Simulates `paths` final prices and gives the payoffs of today's money.
local function payoffs(option, paths, seed)
  local numbers = random.new(seed)
  local drift = (option.rate - option.volatility ^ 2 / 2) * option.years
  local spread = option.volatility * math.sqrt(option.years)
  local discount = math.exp(-option.rate * option.years)
  local values, prices = {}, {}
  for index = 1, paths do
    prices[index] = option.price * math.exp(drift + spread * numbers:normal())
    values[index] = discount * math.max(0, prices[index] - option.strike)
  end
  return values, prices
end

local function main(options)
  options = options or {}
  local option = {
    price = options.price or 100.0,
    strike = options.strike or 105.0,
    rate = options.rate or 0.03,
    volatility = options.volatility or 0.2,
    years = options.years or 1.0,
  }
  local paths = options.paths or 20000
  local values, prices = payoffs(option, paths, options.seed or 42)
  local estimate = statistics.mean(values)
  local error_margin = 1.96 * statistics.deviation(values) / math.sqrt(paths)
  local exact = exact_price(option)
  print("final prices")
  print(statistics.histogram.draw(statistics.histogram.count(prices, 12), 48))
  print(string.format("price %.4f, 95 %% within %.4f; exact %.4f", estimate, error_margin, exact))
  return {
    paths = paths,
    price = estimate,
    error_margin = error_margin,
    exact = exact,
    median_final_price = statistics.quantile(prices, 0.5),
    is_consistent = math.abs(estimate - exact) <= 2 * error_margin,
  }
end

return main
