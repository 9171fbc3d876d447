/** Draws a chart as an SVG file, without a browser. */
import { escapeHtml } from '../page/escape.js'
import { loadECharts } from './echarts.js'
import type { Chart } from './parts.js'

/** Wide enough for two panels, narrow enough that its text can be read in a README. */
const WIDTH = 960

/** Returns a chart as an SVG document. `width` is in pixels, default: 960. */
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
 * Removes the styles for a pointer, which a file does not need, and the counters from names, so that the same
 * recordings make the same file.
 */
function still(svg: string): string {
  return svg
    .replace(/<style >.*?<\/style>/s, '')
    .replace(/ class="zr\d+-cls-\d+"/g, '')
    .replace(/(id="|url\(#)zr\d+-/g, '$1zr-')
}

/** Adds a title for screen readers and for the pointer. */
function titled(svg: string, title: string): string {
  return svg.replace(/^(<svg\b[^>]*)>/, `$1 role="img"><title>${escapeHtml(title).replaceAll('$', '$$$$')}</title>`)
}
