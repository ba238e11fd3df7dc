--- Reproducible random numbers: xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators").
local random = {}
random.__index = random

--- Makes a generator; equal seeds give equal numbers on every machine.
function random.new(seed)
  local state = (seed or 1) ~ 0x2545F4914F6CDD1D
  return setmetatable({ state = state ~= 0 and state or 1 }, random)
end

--- Gives 64 random bits as an integer.
function random:bits()
  local state = self.state
  state = state ~ (state >> 12)
  state = state ~ (state << 25)
  state = state ~ (state >> 27)
  self.state = state
  return state * 0x2545F4914F6CDD1D
end

--- Gives a number from 0 up to but not 1, of 53 random bits.
function random:uniform()
  return (self:bits() >> 11) * 2.0 ^ -53
end

--- Gives an integer from `low` to `high`.
function random:integer(low, high)
  return low + math.floor(self:uniform() * (high - low + 1))
end

--- Gives a number of the standard normal distribution (Box and Muller).
function random:normal()
  if self.spare then
    local spare = self.spare
    self.spare = nil
    return spare
  end
  local radius = math.sqrt(-2 * math.log(1 - self:uniform()))
  local angle = 2 * math.pi * self:uniform()
  self.spare = radius * math.sin(angle)
  return radius * math.cos(angle)
end

return random
