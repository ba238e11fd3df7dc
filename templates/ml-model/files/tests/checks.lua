--- Tests: `catalog run ./ --function test`.
local function check(name, holds)
  if not holds then error("`" .. name .. "` does not hold", 2) end
end

--- Gives how many things hold.
return function(logistic, samples, weights)
  check("a share is between 0 and 1", logistic.predict(weights, { 5.0, 2.0 }) < 1)
  check("larger petals are more like the second kind",
    logistic.predict(weights, { 6.0, 2.2 }) > logistic.predict(weights, { 4.0, 1.2 }))
  check("nine of ten unknown flowers are right", logistic.accuracy(weights, samples.held_out) >= 0.9)
  check("a feature too few is refused", not pcall(logistic.predict, weights, { 5.0 }))
  local once, twice = logistic.train(samples.training, 50, 0.1), logistic.train(samples.training, 50, 0.1)
  check("training gives the same each time", once.bias == twice.bias and once.of[1] == twice.of[1])
  return 5
end
