/**
 * Functions of a script that draws charts, in the colours of the reader's system and in one or two columns, depending
 * on the window. Tooltips are built of text nodes, so nothing from a recording is parsed as HTML.
 *
 * `showChart(data, chart)` draws the chart into the element with its id, and returns functions to change it and to ask
 * what it shows. `data` has
 * the names of the panels, the dark colours and the layouts; see `drawingData()`. Its `onLayout()`, if any, is called
 * with each layout that is used.
 */
export const CHART_FUNCTIONS = `
  const dark = matchMedia('(prefers-color-scheme: dark)')

  const inDarkColours = (value, colours) => {
    if (typeof value === 'string') return Object.hasOwn(colours, value) ? colours[value] : value
    if (Array.isArray(value)) return value.map((one) => inDarkColours(one, colours))
    if (value === null || typeof value !== 'object') return value
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, inDarkColours(inner, colours)]))
  }

  const element = (name, className, text) => {
    const node = document.createElement(name)
    node.className = className
    if (text !== undefined) node.textContent = text
    return node
  }

  const amount = (value, unit) => {
    if (unit === 'count') return Math.round(value).toLocaleString('en-US')
    return value.toFixed(value < 10 && unit === 'ms' ? 2 : 1) + ' ' + unit
  }

  const unitOf = (name, units) => units?.[name] ?? (name === 'clients' ? 'count' : 'MB')

  const tooltip = (names, units) => (points) => {
    const box = element('div', 'tip')
    if (points.length === 0) return box
    box.append(element('div', 'tip-time', points[0].value[0].toFixed(2) + ' s'))
    let panel = -1
    for (const point of [...points].sort((a, b) => parseInt(a.seriesId) - parseInt(b.seriesId))) {
      const current = parseInt(point.seriesId)
      if (current !== panel && names.length > 1) box.append(element('div', 'tip-name', names[current]))
      panel = current
      const line = element('div', 'tip-line')
      const dot = element('i', 'tip-dot')
      dot.style.background = point.color
      const text = amount(point.value[1], unitOf(point.seriesName, units))
      line.append(dot, element('span', '', point.seriesName), element('b', '', text))
      box.append(line)
    }
    return box
  }

  const numbers = new Intl.NumberFormat('en-US')

  // Numbers beside an axis on the left, where there is room for five characters: 10000 is 10k.
  const withShortLabels = (axis) => {
    if (axis.position !== 'left') return axis
    const formatter = (value) => (value < 1e4 ? numbers.format(value) : numbers.format(value / 1000) + 'k')
    return { ...axis, axisLabel: { ...axis.axisLabel, formatter } }
  }

  const showChart = (data, { id, option, units }) => {
    const box = document.getElementById(id)
    let chart
    let columns
    const coloured = (value) => (dark.matches ? inDarkColours(value, data.dark) : value)
    // Returns whether the number of columns has changed.
    const chooseColumns = () => {
      const wanted = box.clientWidth < 860 ? 1 : 2
      if (wanted === columns) return false
      columns = wanted
      const layout = data.layouts[columns - 1]
      box.style.height = layout.height + 'px'
      data.onLayout?.(layout)
      return true
    }
    const arrange = () => {
      if (chooseColumns()) chart?.setOption(data.layouts[columns - 1].option)
      chart?.resize()
    }
    const draw = () => {
      chart?.dispose()
      chart = echarts.init(box)
      // The charts show the same time, so they zoom and point together.
      chart.group = 'report'
      const shown = coloured(option)
      chart.setOption({
        ...shown,
        yAxis: shown.yAxis.map(withShortLabels),
        tooltip: { ...shown.tooltip, renderMode: 'html', formatter: tooltip(data.names, units) }
      }, { lazyUpdate: true })
      // The first option waits for this one, so the chart is laid out once.
      chart.setOption(data.layouts[columns - 1].option)
    }
    const redraw = () => {
      if (chart !== undefined) draw()
    }
    chooseColumns()
    // What is below the window is drawn when the browser has nothing else to do.
    const isVisible = box.getBoundingClientRect().top < innerHeight
    const later = isVisible ? undefined : requestIdleCallback(draw, { timeout: 1000 })
    if (isVisible) draw()
    dark.addEventListener('change', redraw)
    let width = box.clientWidth
    const observer = new ResizeObserver(() => {
      // The window sets only the width; the height is set here.
      if (box.clientWidth === width) return
      width = box.clientWidth
      arrange()
    })
    observer.observe(box)
    return {
      // Titles and grids of an option are those of two columns.
      change: (part) => {
        // A chart that is drawn later is drawn as its option is then.
        if (chart === undefined) return
        chart.setOption(coloured(part))
        if ((part.title ?? part.grid) !== undefined) chart.setOption(data.layouts[columns - 1].option)
      },
      // The part of the time that is shown, for a chart that takes the place of this one; undefined if it is all.
      zoom: () => {
        const zooms = chart?.getOption().dataZoom?.map(({ start, end }) => ({ start, end }))
        return zooms?.some(({ start, end }) => start > 0 || end < 100) ? zooms : undefined
      },
      remove: () => {
        observer.disconnect()
        if (later !== undefined) cancelIdleCallback(later)
        dark.removeEventListener('change', redraw)
        chart?.dispose()
      }
    }
  }
`

/** The script of the page. It draws the charts from the JSON in the page. */
export const PAGE_SCRIPT = `
'use strict'
{
${CHART_FUNCTIONS}
  const data = JSON.parse(document.getElementById('data').textContent)
  for (const chart of data.charts) showChart(data, chart)
  echarts.connect('report')
}
`
