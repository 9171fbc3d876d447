/**
 * The script of the page. It draws the charts from the JSON in the page, in the colours of the reader's system and in
 * one or two columns, depending on the window. Tooltips are built of text nodes, so nothing from a recording is parsed
 * as HTML.
 */
export const PAGE_SCRIPT = `
'use strict'
{
  const data = JSON.parse(document.getElementById('data').textContent)
  const dark = matchMedia('(prefers-color-scheme: dark)')

  const inDarkColours = (value) => {
    if (typeof value === 'string') return Object.hasOwn(data.dark, value) ? data.dark[value] : value
    if (Array.isArray(value)) return value.map(inDarkColours)
    if (value === null || typeof value !== 'object') return value
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, inDarkColours(inner)]))
  }

  const element = (name, className, text) => {
    const node = document.createElement(name)
    node.className = className
    if (text !== undefined) node.textContent = text
    return node
  }

  const amount = (value, unit) =>
    unit === 'clients' ? Math.round(value).toLocaleString('en-US') : value.toFixed(1) + ' MB'

  const tooltip = (names) => (points) => {
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
      line.append(dot, element('span', '', point.seriesName), element('b', '', amount(point.value[1], point.seriesName)))
      box.append(line)
    }
    return box
  }

  for (const { id, option } of data.charts) {
    const box = document.getElementById(id)
    let chart
    let columns
    const arrange = () => {
      const wanted = box.clientWidth < 860 ? 1 : 2
      if (wanted !== columns) {
        columns = wanted
        const layout = data.layouts[columns - 1]
        box.style.height = layout.height + 'px'
        chart.setOption(layout.option)
      }
      chart.resize()
    }
    const draw = () => {
      chart?.dispose()
      columns = undefined
      chart = echarts.init(box)
      // The charts show the same time, so they zoom and point together.
      chart.group = 'report'
      const coloured = dark.matches ? inDarkColours(option) : option
      chart.setOption({
        ...coloured,
        tooltip: { ...coloured.tooltip, renderMode: 'html', formatter: tooltip(data.names) }
      })
      arrange()
    }
    draw()
    dark.addEventListener('change', draw)
    let width = box.clientWidth
    new ResizeObserver(() => {
      // The window sets only the width; the height is set here.
      if (box.clientWidth === width) return
      width = box.clientWidth
      arrange()
    }).observe(box)
  }
  echarts.connect('report')
}
`
