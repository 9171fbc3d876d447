/** Arranges the panels of a chart, one per server, in one to three columns. Lengths are in pixels. */

interface Panel {
  left: number | string
  right: number | string
  titleTop: number
  /** Top of the box with the curves. The title is above it, the labels of the axes around it. */
  top: number
  height: number
}

export interface Layout {
  panels: Panel[]
  height: number
}

/** Height of the legend, above the first panel. */
const LEGEND = 38
/** Height of the legend in a page with one column, where it wraps. */
const WRAPPED_LEGEND = 62
/** Height of the heading, which only a file has. */
const TITLE = 28
/** Height of a panel's title and subtitle. */
const PANEL_TITLE = 56
/** Height of the axis labels below a panel. */
const AXIS = 44
/** Height of the zoom slider. */
const SLIDER = 44

/** Room for the labels of the axes beside a panel. */
const LEFT = 46
const RIGHT = 60

/** Number of columns. Three columns have no room for labels on the right of a panel. */
export type Columns = 1 | 2 | 3

/** Where the panels of each column begin and end, if there is more than one column. */
const SIDES: Record<number, Pick<Panel, 'left' | 'right'>[]> = {
  2: [
    { left: '5.5%', right: '55.5%' },
    { left: '55%', right: '6%' }
  ],
  3: [
    { left: '5%', right: '68.5%' },
    { left: '37.5%', right: '36%' },
    { left: '70%', right: '3.5%' }
  ]
}

/** Room in addition to what every chart has. */
export interface Extra {
  /** Below the curves of each panel. */
  below?: number
  /** Above the first panel: for a legend of several lines. */
  head?: number
}

/**
 * Arranges `count` panels in at most `columns` columns. All panels have the same size, so that curves can be compared.
 *
 * @param interactive for the page, which has its own headings and a zoom slider at the bottom
 */
export function layoutOf(count: number, columns: Columns, interactive: boolean, extra: Extra = {}): Layout {
  const { below = 0, head: more = 0 } = extra
  const head = more + (interactive ? (columns === 1 ? WRAPPED_LEGEND : LEGEND) : TITLE + LEGEND)
  const across = Math.min(count, columns)
  const rows = Math.ceil(count / Math.max(1, across))
  const height = rows === 1 ? 280 : rows === 2 ? 230 : columns === 3 ? 160 : 190
  const panels = Array.from({ length: count }, (_, index): Panel => {
    const row = Math.floor(index / across)
    return {
      ...(SIDES[across]?.[index % across] ?? { left: LEFT, right: RIGHT }),
      titleTop: head + row * (PANEL_TITLE + height + below + AXIS),
      top: head + PANEL_TITLE + row * (PANEL_TITLE + height + below + AXIS),
      height
    }
  })
  return { panels, height: head + rows * (PANEL_TITLE + height + below + AXIS) + (interactive ? SLIDER : 0) }
}
