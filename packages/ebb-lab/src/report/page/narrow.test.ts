/** The pages in windows of a phone, a tablet and a desk, in Chromium: no element is wider than the box around it. */
import { describe, expect, test } from 'vitest'
import type { Recording } from '../../record/recording.js'
import { renderBoxHtml } from '../box/html.js'
import { judgeBox } from '../box/verdict.js'
import { report } from '../report.js'
import type { Run } from '../run.js'
import { twoVariants } from '../testing/box.js'
import { chromiumForTests, hasChromium } from '../testing/chromium.js'
import { synthetic } from '../testing/synthetic.js'
import { judge } from '../verdict.js'
import { renderHtml } from './html.js'

/** A name without a place to break it. */
const LONG = `${'abcdefghij'.repeat(9)}.js`

function runOf(name: string, changes: object = {}): Run {
  const recording = synthetic({ name, perConnection: 8_700_000, big: 10_000, ...changes })
  const control = synthetic({ name, role: 'control' })
  return { recording, control, verdict: judge(recording, control) }
}

/** Returns a server that was measured three times. */
async function repeated(name: string): Promise<Run> {
  const recordings = [0.2, 0.4, 0.6].flatMap((keeps, index) =>
    (['main', 'control'] as const).map((role): Recording => {
      const recording = synthetic({ name, role, keeps, perConnection: 40_000 })
      recording.header.run = { index: index + 1, of: 3 }
      return recording
    })
  )
  const [verdict] = (await report(recordings)).verdicts
  return { recording: recordings[0] as Recording, control: null, verdict: verdict as Run['verdict'], shown: 1 }
}

async function boxPage(): Promise<string> {
  const box = twoVariants()
  const [first] = box.runs
  for (const server of first?.servers ?? []) server.name = LONG
  const judged = judgeBox(box).map((verdict, i) => ({ verdict, run: box.runs[i] as (typeof box.runs)[number] }))
  return await renderBoxHtml(judged, box.header, [LONG])
}

describe.skipIf(!hasChromium)('pages in narrow windows', { timeout: 60_000 }, () => {
  const browser = chromiumForTests()

  /** Returns the elements of a page that are wider than their box, or than the window. */
  async function tooWide(html: string, width: number): Promise<string[]> {
    // Without the charts, which html.test.ts measures, and whose drawing takes most of the time.
    const page = await browser().newPage({ viewport: { width, height: 900 }, javaScriptEnabled: false })
    await page.setContent(html)
    const found = (await page.evaluate(`(() => {
      const inFlow = (e) => !['inline', 'none', 'contents'].includes(getComputedStyle(e).display) && e.closest('.chart') === null
      const name = (e) => e.tagName.toLowerCase() + '.' + e.className + ' ' + e.textContent.slice(0, 40)
      const all = [...document.querySelectorAll('body, main, main *')].filter(inFlow)
      const overflowing = all.filter((e) => e.scrollWidth > e.clientWidth + 1)
      const outside = all.filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5)
      return [...new Set([...overflowing, ...outside])].map(name)
    })()`)) as string[]
    await page.close()
    return found
  }

  test.each([
    ['one server', async () => await renderHtml([runOf('server.js')], [LONG])],
    ['one server with a long name', async () => await renderHtml([runOf(LONG)])],
    ['one server, several runs', async () => await renderHtml([await repeated('net')])],
    ['two servers', async () => await renderHtml([runOf('ebb'), runOf('net', { keeps: 0.9 })])],
    [
      'eight servers',
      async () => await renderHtml(Array.from({ length: 8 }, (_, i) => runOf(i < 2 ? LONG + i : `net ${i}`)))
    ],
    ['several servers, several runs', async () => await renderHtml([await repeated('net'), await repeated(LONG)])],
    ['a box', boxPage]
  ])('%s: nothing is wider than its box at 420 px', async (_, page) => {
    expect(await tooWide(await page(), 420)).toEqual([])
  })

  test('two servers and a box fit into 800 px and 1,600 px without scrolling', async () => {
    for (const html of [await renderHtml([runOf('ebb'), runOf('net')]), await boxPage()]) {
      for (const width of [800, 1600]) expect({ width, wide: await tooWide(html, width) }).toEqual({ width, wide: [] })
    }
  })

  test('each cell in a narrow window has the name of its column beside it', async () => {
    const page = await browser().newPage({ viewport: { width: 420, height: 900 }, javaScriptEnabled: false })
    await page.setContent(await renderHtml([runOf('ebb'), runOf('net')]))
    const beside = await page.evaluate(
      `[...document.querySelectorAll('tr.main td')].map((cell) => getComputedStyle(cell, '::before').content)`
    )
    expect(beside).toEqual(['"ebb"', '"net"'])
    expect(await page.getByRole('cell').count()).toBeGreaterThan(10)
    await page.close()
  })
})
