--- Loans, present values and internal rates of return. Money counts in cents, so sums are exact.
local calculator = {}

local function cents(amount)
  return math.floor(amount * 100 + 0.5)
end

local function money(count)
  return count / 100
end

--- Gives the level monthly payment of a loan in cents.
local function payment_of(principal, monthly_rate, months)
  if monthly_rate == 0 then
    return cents(principal / months)
  end
  return cents(principal * monthly_rate / (1 - (1 + monthly_rate) ^ -months))
end

--- Gives the plan of a loan: what is paid each year as interest and principal, and what is left. The last payment is
--- smaller or larger by the cents that rounding left over.
function calculator.amortise(loan)
  local months = loan.years * 12
  local monthly_rate = loan.rate / 12
  local payment = payment_of(loan.principal, monthly_rate, months)
  local balance, interest_total, years = cents(loan.principal), 0, {}
  for month = 1, months do
    local interest = math.floor(balance * monthly_rate + 0.5)
    local repaid = month == months and balance or math.min(balance, payment - interest)
    balance = balance - repaid
    interest_total = interest_total + interest
    local year = (month - 1) // 12 + 1
    years[year] = years[year] or { year = year, interest = 0, repaid = 0 }
    years[year].interest = years[year].interest + interest
    years[year].repaid = years[year].repaid + repaid
    years[year].balance = balance
  end
  for _, year in ipairs(years) do
    year.interest, year.repaid, year.balance = money(year.interest), money(year.repaid), money(year.balance)
  end
  return { payment = money(payment), interest_total = money(interest_total), months = months, years = years }
end

--- Gives today's value of yearly cash flows, the first of which is paid today.
function calculator.npv(rate, flows)
  local value = 0.0
  for year, flow in ipairs(flows) do
    value = value + flow / (1 + rate) ^ (year - 1)
  end
  return value
end

--- Gives the rate at which cash flows are worth nothing today, or nil; by bisection, which always ends.
function calculator.irr(flows)
  local low, high = -0.99, 10.0
  if calculator.npv(low, flows) * calculator.npv(high, flows) > 0 then
    return nil
  end
  for _ = 1, 200 do
    local middle = (low + high) / 2
    if calculator.npv(low, flows) * calculator.npv(middle, flows) <= 0 then
      high = middle
    else
      low = middle
    end
  end
  return (low + high) / 2
end

--- Plans a loan and values an investment.
function calculator.main(options)
  options = options or {}
  local loan = {
    principal = options.principal or 250000,
    rate = options.rate or 0.045,
    years = options.years or 25,
  }
  local flows = options.flows or { -1000.0, 300.0, 420.0, 680.0 }
  local plan = calculator.amortise(loan)
  print(string.format("loan of %.2f at %.2f %% over %d years", loan.principal, loan.rate * 100, loan.years))
  print(string.format("monthly payment %.2f, interest %.2f in all", plan.payment, plan.interest_total))
  for _, year in ipairs(plan.years) do
    local share = year.balance / loan.principal
    print(string.format("%4d  %12.2f left  %s", year.year, year.balance, ("#"):rep(math.floor(share * 40 + 0.5))))
  end
  return {
    payment = plan.payment,
    interest_total = plan.interest_total,
    months = plan.months,
    years = plan.years,
    npv = calculator.npv(0.08, flows),
    irr = calculator.irr(flows),
  }
end

return calculator
