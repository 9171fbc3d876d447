/** Where the panels of a picture stand: one panel a server, in one to three columns. Lengths are pixels. */

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

/** Three have no room for labels on their right. */
export type Columns = 1 | 2 | 3

/** Of more than one column: where a panel begins and ends. */
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

/** Room beside what every picture has, pixels. */
export interface Extra {
  /** Under each panel's curves. */
  below?: number
  /** Above the first panel: for a legend of several lines. */
  head?: number
}

/**
 * `count` panels in at most `columns` columns, of the same size each so that curves can be compared by eye.
 * `interactive`: for the page, which has its own headings and a zoom slider at the bottom.
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
