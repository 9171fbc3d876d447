/** Where the panels of a picture stand: one panel a server, in one or two columns. Lengths are pixels. */

interface Panel {
  left: number | string
  right: number | string
  titleTop: number
  /** Of the curve's box; the title stands above it, the labels of the axes around it. */
  top: number
  height: number
}

export interface Layout {
  panels: Panel[]
  height: number
}

/** Above the first panel: the legend, which wraps in a narrow page, and the title of a picture that stands alone. */
const LEGEND = 38
const WRAPPED_LEGEND = 62
const TITLE = 28
/** Of a panel's title and subtitle, and of the axis labels under it. */
const PANEL_TITLE = 56
const AXIS = 44
const SLIDER = 44

/** The room that the labels of the axes need beside a panel. */
const LEFT = 46
const RIGHT = 60

/**
 * `count` panels in at most `columns` columns, of the same size each so that curves can be compared by eye.
 * `interactive`: for the page, which has its own headings and a zoom slider at the bottom.
 */
export function layoutOf(count: number, columns: 1 | 2, interactive: boolean): Layout {
  const head = interactive ? (columns === 1 ? WRAPPED_LEGEND : LEGEND) : TITLE + LEGEND
  const across = Math.min(count, columns)
  const rows = Math.ceil(count / Math.max(1, across))
  const height = rows === 1 ? 280 : rows === 2 ? 230 : 190
  const panels = Array.from({ length: count }, (_, index): Panel => {
    const row = Math.floor(index / across)
    return {
      left: across === 1 ? LEFT : index % across === 0 ? '5.5%' : '55%',
      right: across === 1 ? RIGHT : index % across === 0 ? '55.5%' : '6%',
      titleTop: head + row * (PANEL_TITLE + height + AXIS),
      top: head + PANEL_TITLE + row * (PANEL_TITLE + height + AXIS),
      height
    }
  })
  return { panels, height: head + rows * (PANEL_TITLE + height + AXIS) + (interactive ? SLIDER : 0) }
}
