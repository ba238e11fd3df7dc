--- Draws the Mandelbrot set as text.
local palette = " .,:;i1tfLCG08@"

--- Counts the steps until a point escapes; `limit` if it does not.
local function steps_of(cx, cy, limit)
  local x, y = 0.0, 0.0
  for step = 1, limit do
    local xx, yy = x * x, y * y
    if xx + yy > 4 then
      return step
    end
    x, y = xx - yy + cx, 2 * x * y + cy
  end
  return limit
end

local function main(options)
  options = options or {}
  local width, height, limit = options.width or 76, options.height or 30, options.limit or 200
  local inside, lines = 0, {}
  for row = 1, height do
    local line = {}
    for column = 1, width do
      local cx = -2.2 + 3.2 * (column - 0.5) / width
      local cy = -1.25 + 2.5 * (row - 0.5) / height
      local steps = steps_of(cx, cy, limit)
      if steps == limit then
        inside = inside + 1
      end
      local shade = math.log(steps) / math.log(limit)
      local index = 1 + math.floor(shade * (#palette - 1) + 0.5)
      line[column] = palette:sub(index, index)
    end
    lines[row] = table.concat(line)
  end
  local image = table.concat(lines, "\n")
  print(image)
  local area = 3.2 * 2.5 * inside / (width * height)
  return { width = width, height = height, inside = inside, area = area, image = image }
end

return main
