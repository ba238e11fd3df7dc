--- Logistic regression: the share of one kind as a function of features.
local logistic = {}

local function score(weights, features)
  local sum = weights.bias
  for i = 1, #features do sum = sum + weights.of[i] * features[i] end
  return sum
end

--- Gives the share of the second kind, between 0 and 1.
function logistic.predict(weights, features)
  if #features ~= #weights.of then
    error("expected " .. #weights.of .. " features, got " .. #features, 2)
  end
  return 1 / (1 + math.exp(-score(weights, features)))
end

--- Gives the share of samples that are told right.
function logistic.accuracy(weights, samples)
  local right = 0
  for _, sample in ipairs(samples) do
    local guess = logistic.predict(weights, sample.features) >= 0.5 and 1 or 0
    if guess == sample.kind then right = right + 1 end
  end
  return right / #samples
end

--- Fits weights to samples by going down the gradient of the loss, from zero, so each training gives the same.
function logistic.train(samples, iterations, rate)
  local weights = { bias = 0.0, of = {} }
  for i = 1, #samples[1].features do weights.of[i] = 0.0 end
  for _ = 1, iterations do
    local bias, slopes = 0.0, {}
    for i = 1, #weights.of do slopes[i] = 0.0 end
    for _, sample in ipairs(samples) do
      local difference = logistic.predict(weights, sample.features) - sample.kind
      bias = bias + difference
      for i = 1, #slopes do slopes[i] = slopes[i] + difference * sample.features[i] end
    end
    weights.bias = weights.bias - rate * bias / #samples
    for i = 1, #slopes do weights.of[i] = weights.of[i] - rate * slopes[i] / #samples end
  end
  return weights
end

return logistic
