--- Counts primes up to a limit with the sieve of Eratosthenes, odd numbers only.
local function main(options)
  local limit = options and options.limit or 200000
  local is_composite = {}
  local count = limit >= 2 and 1 or 0
  local largest, gap, previous = count == 1 and 2 or 0, 0, 2
  for number = 3, limit, 2 do
    if not is_composite[number] then
      count = count + 1
      gap = math.max(gap, number - previous)
      previous, largest = number, number
      for multiple = number * number, limit, 2 * number do
        is_composite[multiple] = true
      end
    end
  end
  print(string.format("%d primes up to %d, the largest %d, the widest gap %d", count, limit, largest, gap))
  return { limit = limit, count = count, largest = largest, widest_gap = gap }
end

return main
