import { describe, expect, test } from 'vitest'
import { chromiumForTests, hasChromium } from '../testing/chromium.js'
import { HOSTILE } from '../testing/hostile.js'
import { sideBySide, synthetic } from '../testing/synthetic.js'
import { judge } from '../verdict.js'
import { memoryChart } from './memory-chart.js'
import { runtimeChart } from './runtime-chart.js'
import { renderSvg } from './svg.js'

const honest = sideBySide().map((recording) => ({ recording, control: null, verdict: judge(recording) }))
const hostile = HOSTILE.map((name) => {
  const recording = synthetic({ name, runtime: { name, version: name } })
  return { recording, control: null, verdict: judge(recording) }
})

test('draws curves and text', () => {
  const svg = renderSvg(memoryChart(honest))
  expect(svg).toMatch(/^<svg [^>]*width="960"/)
  for (const word of ['ebb serve', 'node:net', 'anonymous', '10k', 'MB']) expect(svg).toContain(word)
})

test('draws the same file for the same chart', () => {
  expect(renderSvg(runtimeChart(honest))).toBe(renderSvg(runtimeChart(honest)))
})

test('escapes a name', () => {
  for (const svg of [renderSvg(memoryChart(hostile)), renderSvg(runtimeChart(hostile))]) {
    expect(svg).not.toMatch(/<(script|img|a)\b/i)
    expect(svg).toContain('&lt;img src=x onerror=alert(1)&gt;')
  }
})

describe.skipIf(!hasChromium)('in Chromium', { timeout: 60_000 }, () => {
  const browser = chromiumForTests()

  test.each([
    ['memory', memoryChart],
    ['runtime', runtimeChart]
  ])('the %s picture is well-formed XML without scripts', async (_, chart) => {
    const page = await browser().newPage()
    for (const runs of [honest, hostile, []]) {
      const found = await page.evaluate(
        (svg) => {
          const { DOMParser } = globalThis as unknown as {
            DOMParser: new () => { parseFromString(text: string, type: string): XmlNode }
          }
          const xml = new DOMParser().parseFromString(svg, 'image/svg+xml')
          const all = [...xml.querySelectorAll('*')]
          return {
            root: xml.documentElement.localName,
            broken: xml.querySelectorAll('parsererror').length,
            scripts: xml.querySelectorAll('script, foreignObject, a, image').length,
            handlers: all.flatMap((node) => node.getAttributeNames()).filter((name) => name.startsWith('on')).length
          }
        },
        renderSvg(chart(runs))
      )
      expect(found).toEqual({ root: 'svg', broken: 0, scripts: 0, handlers: 0 })
    }
    await page.close()
  })
})

/** The part of a browser's XML node that the tests use. */
interface XmlNode {
  documentElement: { localName: string }
  querySelectorAll(selector: string): Iterable<{ getAttributeNames(): string[] }> & { length: number }
}

test('has dark colours for a reader whose system is dark', () => {
  const svg = renderSvg(memoryChart(honest))
  const style = /<style>(.*?)<\/style>/s.exec(svg)?.[1] ?? ''
  expect(style).toMatch(/^@media \(prefers-color-scheme: dark\)/)
  // Every colour of the picture has a dark counterpart, except black, which ECharts uses for what cannot be seen.
  const used = new Set(
    [...svg.replace(style, '').matchAll(/(?:fill|stroke)="(#\w+|rgb[^"]+)"/g)].map(([, colour]) => colour)
  )
  const hidden = new Set(['#000', 'rgb(0,0,0)'])
  for (const colour of used) if (!hidden.has(colour as string)) expect(style).toContain(`[fill="${colour}"]`)
})
