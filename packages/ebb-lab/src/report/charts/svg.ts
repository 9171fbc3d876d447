/** Draws a chart as an SVG file, without a browser. */
import { escapeHtml } from '../page/escape.js'
import { loadECharts } from './echarts.js'
import { DARK, LIGHT, SERVERS } from './palette.js'
import type { Chart } from './parts.js'

/** Wide enough for two panels, narrow enough that its text can be read in a README. */
const WIDTH = 960

/** Returns a chart as an SVG document. `width` is in pixels, default: 960. */
export function renderSvg({ title, option, height }: Chart, width = WIDTH): string {
  const chart = loadECharts().init(null, null, { renderer: 'svg', ssr: true, width, height })
  try {
    chart.setOption(option)
    return titled(still(chart.renderToSVGString()), title, DARK_STYLE)
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

/** Adds a title for screen readers and for the pointer, and a style sheet. */
function titled(svg: string, title: string, style: string): string {
  const head = `<title>${escapeHtml(title).replaceAll('$', '$$$$')}</title>${style}`
  return svg.replace(/^(<svg\b[^>]*)>/, `$1 role="img">${head}`)
}

/** Colours that ECharts uses for axes by itself, and their dark counterparts. */
const AXES: readonly (readonly [light: string, dark: string])[] = [
  ['#54555a', DARK.resident],
  ['#3c3c41', DARK.faint],
  ['#b7b9be', DARK.grid]
]

/**
 * The style sheet that gives a picture dark colours if the reader's system is dark. It replaces the colours of the
 * attributes one by one.
 */
const DARK_STYLE = `<style>@media (prefers-color-scheme: dark) { ${[
  ...(Object.keys(LIGHT) as (keyof typeof LIGHT)[]).map((key) => [LIGHT[key], DARK[key]] as const),
  ...SERVERS,
  ...AXES
]
  .map(([light, dark]) => [attribute(light), dark] as const)
  .map(([light, dark]) => `[fill="${light}"] { fill: ${opaque(dark)} } [stroke="${light}"] { stroke: ${opaque(dark)} }`)
  .join(' ')} }</style>`

/** Returns a colour as ECharts writes it into an attribute: without its opacity, which has an attribute of its own. */
function attribute(colour: string): string {
  return opaque(colour).replaceAll(' ', '')
}

/** Returns a colour without its opacity. */
function opaque(colour: string): string {
  return colour.replace(/^rgba\((.*), [\d.]+\)$/, 'rgb($1)')
}
