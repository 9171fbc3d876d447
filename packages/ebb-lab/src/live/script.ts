/**
 * The script of a live page. It gets a whole view at first, and after that what has changed. While the page is hidden
 * or paused, it notes what has changed and draws nothing. All text is set as text; the HTML of a view comes from the
 * server, which has escaped whatever is not its own.
 */
import { CHART_FUNCTIONS } from '../report/page/script.js'

export const LIVE_SCRIPT = `
'use strict'
{
${CHART_FUNCTIONS}
  const byId = (id) => document.getElementById(id)
  const [content, status, dot, pause] = ['content', 'status', 'dot', 'pause'].map(byId)
  let view
  let shown = new Map()
  let pending = new Map()
  let isPaused = false
  // How the reader has sorted a table. Undefined: as the table says.
  let sorted

  const tell = (text, look) => {
    if (status.textContent !== text) status.textContent = text
    dot.className = 'dot ' + look
  }
  const tellView = () => {
    if (view !== undefined) tell(view.status, view.state)
  }

  const setTexts = (texts) => {
    for (const [id, text] of Object.entries(texts)) byId(id)?.replaceChildren(text)
  }
  const setLabels = (labels) => {
    for (const [id, text] of Object.entries(labels)) byId(id)?.setAttribute('aria-label', text)
  }

  // Sorts the rows of tables by the texts of a column. What is not known goes to the end.
  const sortTables = () => {
    for (const table of content.querySelectorAll('table.sortable')) {
      const heads = [...table.tHead.rows[0].cells]
      if (sorted !== undefined) {
        for (const head of heads) head.removeAttribute('aria-sort')
        heads[sorted.column].setAttribute('aria-sort', sorted.order)
      }
      const column = heads.findIndex((head) => head.hasAttribute('aria-sort'))
      if (column === -1) continue
      const isFigure = heads[column].dataset.order === 'descending'
      const sign = heads[column].getAttribute('aria-sort') === 'ascending' ? 1 : -1
      const textOf = (row) => row.cells[column].textContent
      const figureOf = (row) => parseFloat(textOf(row).replaceAll(',', ''))
      const compare = (a, b) => {
        if (!isFigure) return textOf(a).localeCompare(textOf(b), 'en', { numeric: true }) * sign
        const [left, right] = [figureOf(a), figureOf(b)]
        return isNaN(left) || isNaN(right) ? isNaN(left) - isNaN(right) : (left - right) * sign
      }
      const [body] = table.tBodies
      const rows = [...body.rows].sort(compare)
      if (rows.some((row, i) => row !== body.rows[i])) body.append(...rows)
    }
  }

  content.addEventListener('click', ({ target }) => {
    const head = target.closest('table.sortable th')
    if (head === null || target.closest('button') === null) return
    const before = head.getAttribute('aria-sort')
    const turned = before === 'ascending' ? 'descending' : 'ascending'
    sorted = { column: head.cellIndex, order: before === null ? head.dataset.order : turned }
    sortTables()
  })

  const colourOf = (option, name) => {
    const series = option.series.find((one) => one.name === name)
    const colour = series?.color ?? 'transparent'
    return dark.matches && Object.hasOwn(view.dark, colour) ? view.dark[colour] : colour
  }

  // Buttons in place of the legend of a chart, which is a picture: the keyboard and screen readers reach buttons.
  const curveButtons = (chart) => {
    const { legend } = chart.option
    const box = byId(chart.id)
    const row = element('div', 'curves')
    row.setAttribute('role', 'group')
    row.setAttribute('aria-label', 'Curves')
    legend.show = false
    legend.selected ??= {}
    for (const item of legend.data) {
      const name = typeof item === 'string' ? item : item.name
      const button = element('button', '')
      const isDashed = chart.option.series.find((one) => one.name === name)?.lineStyle?.type === 'dashed'
      const mark = element('i', item.icon === 'rect' ? 'area' : isDashed ? 'dashed' : '')
      button.type = 'button'
      mark.style.setProperty('--curve', colourOf(chart.option, name))
      button.append(mark, name)
      button.setAttribute('aria-pressed', String(legend.selected[name] !== false))
      button.addEventListener('click', () => {
        legend.selected[name] = legend.selected[name] === false
        button.setAttribute('aria-pressed', String(legend.selected[name]))
        shown.get(chart.id).change({ legend: { selected: legend.selected } })
      })
      row.append(button)
    }
    // The chart has room for its legend above the title of the first panel. The buttons take this room.
    box.before(row)
    return (layout) => {
      box.style.marginTop = '-' + Math.max(0, (layout.option.title?.[0]?.top ?? 0) - 10) + 'px'
    }
  }

  // Returns what finds the button that has the focus once more, after the elements around it were built anew.
  const focusedIn = (box) => {
    const { activeElement: button } = document
    if (button?.localName !== 'button' || !box.contains(button)) return undefined
    const text = button.textContent
    const chart = button.closest('section')?.querySelector('.chart')?.id
    return () => {
      const place = chart === undefined ? box : byId(chart)?.closest('section')
      return [...(place?.querySelectorAll('button') ?? [])].find((one) => one.textContent === text)
    }
  }

  const build = (next) => {
    const isSame = view?.html === next.html
    const { scrollY } = window
    const focused = focusedIn(content)
    const zooms = new Map([...shown].map(([id, chart]) => [id, chart.zoom()]))
    const selected = new Map((view?.charts ?? []).map(({ id, option }) => [id, option.legend?.selected]))
    for (const chart of shown.values()) chart.remove()
    shown = new Map()
    pending = new Map()
    view = next
    document.title = view.title
    if (!isSame) content.innerHTML = view.html
    else for (const row of content.querySelectorAll('.curves')) row.remove()
    setTexts(view.texts)
    setLabels(view.labels)
    sortTables()
    for (const chart of view.charts) {
      if (chart.option.legend !== undefined) chart.option.legend.selected = selected.get(chart.id) ?? {}
      const zoom = zooms.get(chart.id)
      if (zoom !== undefined) chart.option.dataZoom = chart.option.dataZoom?.map((one, i) => ({ ...one, ...zoom[i] }))
      const onLayout = chart.option.legend === undefined ? undefined : curveButtons(chart)
      shown.set(chart.id, showChart({ ...view, onLayout }, chart))
    }
    echarts.connect('report')
    pause.hidden = view.state !== 'running'
    tellView()
    scrollTo(0, scrollY)
    focused?.()?.focus({ preventScroll: true })
  }

  // Applies a change of a chart to its option, and notes what is to be drawn.
  const changeChart = (chart, { option = {}, series = [], points = [] }) => {
    const { legend, ...rest } = option
    Object.assign(chart.option, rest)
    const changed = pending.get(chart.id) ?? { option: {}, series: new Set() }
    pending.set(chart.id, changed)
    Object.assign(changed.option, rest)
    const find = (id) => chart.option.series.find((one) => one.id === id)
    for (const look of series) {
      const one = find(look.id)
      Object.assign(one, look)
      changed.series.add(one)
    }
    for (const { id, from, add } of points) {
      const one = find(id)
      one.data.splice(from, Infinity, ...add)
      changed.series.add(one)
    }
  }

  const draw = () => {
    if (isPaused || document.hidden || view === undefined) return
    setTexts(view.texts)
    setLabels(view.labels)
    sortTables()
    for (const [id, { option, series }] of pending) {
      shown.get(id).change(series.size === 0 ? option : { ...option, series: [...series] })
    }
    pending = new Map()
  }

  document.addEventListener('visibilitychange', draw)
  dark.addEventListener('change', () => {
    for (const { id, option } of view?.charts ?? []) {
      const buttons = byId(id).previousElementSibling?.querySelectorAll('.curves > button') ?? []
      for (const button of buttons) button.firstChild.style.setProperty('--curve', colourOf(option, button.textContent))
    }
  })
  pause.addEventListener('click', () => {
    isPaused = !isPaused
    pause.setAttribute('aria-pressed', String(isPaused))
    draw()
  })

  // Events are read while the library is loaded, and wait for it in their order.
  const events = new EventSource('/events' + location.search)
  const library = new Promise((resolve) => {
    byId('library').addEventListener('load', resolve)
    if (typeof echarts !== 'undefined') resolve()
  })
  const on = (name, act) => {
    events.addEventListener(name, ({ data }) => {
      const read = JSON.parse(data)
      library.then(() => act(read))
    })
  }
  on('view', (next) => {
    if (next.state === 'finished' && isPaused) pause.click()
    build(next)
  })
  on('changes', ({ status: said, texts = {}, labels = {}, charts = {} }) => {
    if (said !== undefined) view.status = said
    Object.assign(view.texts, texts)
    Object.assign(view.labels, labels)
    for (const chart of view.charts) if (chart.id in charts) changeChart(chart, charts[chart.id])
    tellView()
    draw()
  })
  on('end', () => {
    events.close()
    tell((view?.status ?? 'The run has ended') + '. ebb has ended; this page stays as it is', 'finished')
  })
  events.addEventListener('open', tellView)
  events.addEventListener('error', () => {
    if (events.readyState === EventSource.CLOSED) tell('ebb has refused this page: open the URL that it has printed', 'lost')
    else tell('The connection to ebb is lost; trying again', 'lost')
  })
}
`
