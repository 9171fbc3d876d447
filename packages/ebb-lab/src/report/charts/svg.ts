/** A chart as an SVG file, drawn without a browser. */

import { escapeHtml } from '../page/escape.js'
import { loadECharts } from './echarts.js'
import type { Chart } from './parts.js'

/** Wide enough for two panels, narrow enough that its text can be read in a README. */
const WIDTH = 960

/** The chart as a whole SVG document. `width` in pixels, default 960. */
export function renderSvg({ title, option, height }: Chart, width = WIDTH): string {
  const chart = loadECharts().init(null, null, { renderer: 'svg', ssr: true, width, height })
  try {
    chart.setOption(option)
    return titled(still(chart.renderToSVGString()), title)
  } finally {
    chart.dispose()
  }
}

/**
 * Without the styles for a pointer, which a picture in a file has no use for, and with names that do not count up from
 * one picture to the next: the same recordings make the same file.
 */
function still(svg: string): string {
  return svg
    .replace(/<style >.*?<\/style>/s, '')
    .replace(/ class="zr\d+-cls-\d+"/g, '')
    .replace(/(id="|url\(#)zr\d+-/g, '$1zr-')
}

/** For those who hear a page, and where the mouse rests on the picture. */
function titled(svg: string, title: string): string {
  return svg.replace(/^(<svg\b[^>]*)>/, `$1 role="img"><title>${escapeHtml(title).replaceAll('$', '$$$$')}</title>`)
}
