/** The live pages of `ebb box`, `ebb pulse` and `ebb top` in Chromium, while they grow. */
import type { Page } from 'playwright-core'
import { afterEach, describe, expect, test } from 'vitest'
import { BoxBuilder } from '../record/box/recording.js'
import { BOX_HEADER, spikes } from '../report/testing/box.js'
import { chromiumForTests, hasChromium } from '../report/testing/chromium.js'
import { HOSTILE } from '../report/testing/hostile.js'
import { box, server } from '../top/testing/samples.js'
import { BoxRuns } from './box-runs.js'
import { LoadRun } from './load-run.js'
import { type LiveServer, serveLive } from './server.js'
import { TopRun } from './top-run.js'
import type { LiveView } from './view.js'

const WIDTHS = [420, 800, 1600]

const servers: LiveServer[] = []
afterEach(async () => {
  for (const served of servers.splice(0)) await served.end()
})

describe.skipIf(!hasChromium)('in Chromium', { timeout: 60_000 }, () => {
  const browser = chromiumForTests()

  async function open(source: () => LiveView): Promise<{ page: Page; served: LiveServer; complaints: string[] }> {
    const served = await serveLive({ host: '127.0.0.1', port: 0, isFlexible: false }, source)
    servers.push(served)
    const page = await browser().newPage({ viewport: { width: WIDTHS[0] as number, height: 900 }, colorScheme: 'dark' })
    const complaints: string[] = []
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(String(error)))
    await page.goto(served.url)
    await page.waitForSelector('.chart canvas')
    return { page, served, complaints }
  }

  /** Returns the curves of all charts as the browser has drawn them: the number of points by chart and curve. */
  async function drawn(page: Page): Promise<Record<string, Record<string, number>>> {
    return await page.evaluate(`Object.fromEntries([...document.querySelectorAll('.chart')].map((element) => {
      const { series = [] } = echarts.getInstanceByDom(element)?.getOption() ?? {}
      return [element.id, Object.fromEntries(series.map(({ id, data = [] }) => [id, data.length]))]
    }))`)
  }

  /** Returns the same of a view. */
  function expected(view: LiveView): Record<string, Record<string, number>> {
    const seriesOf = ({ option }: LiveView['charts'][0]) => option.series as { id: string; data?: unknown[] }[]
    return Object.fromEntries(
      view.charts.map((chart) => [
        chart.id,
        Object.fromEntries(seriesOf(chart).map(({ id, data = [] }) => [id, data.length]))
      ])
    )
  }

  /** Expects that nothing is wider than the window, which scrolls, and that the browser has complained of nothing. */
  async function fits(page: Page, complaints: string[]): Promise<void> {
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 })
      await expect.poll(() => page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width)
    }
    expect(complaints).toEqual([])
    await page.close()
  }

  test('ebb box: areas and lanes grow, a new run gets a panel, and the report comes at the end', async () => {
    const builder = new BoxBuilder(BOX_HEADER)
    const runs = new BoxRuns()
    const add = (variant: string, index: number, from: number, until: number): void => {
      for (const line of spikes(variant, index * 20_000, index * 4, 1).filter(({ t }) => t >= from && t < until)) {
        builder.add(line)
        if (line.type === 'run') runs.begin(builder.box, 20_000)
      }
    }
    add('plain', 0, 0, 6000)
    const { page, served, complaints } = await open(() => runs.view())
    await expect.poll(() => drawn(page)).toEqual(expected(runs.view()))
    const before = await page.locator('#now-time').textContent()
    add('plain', 0, 6000, 20_000)
    served.update()
    await expect.poll(() => page.locator('#now-time').textContent()).not.toBe(before)
    await expect.poll(() => drawn(page)).toEqual(expected(runs.view()))
    add('ebb', 1, 20_000, 1e9)
    served.update()
    await expect.poll(() => drawn(page)).toEqual(expected(runs.view()))
    expect(Object.keys((await drawn(page)).box ?? {})).toContain('1:memory 0')
    await runs.finish(false)
    await served.end()
    await expect.poll(() => page.locator('h2').first().textContent()).toBe('Verdict')
    await fits(page, complaints)
  })

  test('ebb pulse: connections and latencies grow, and the result comes at the end', async () => {
    const run = new LoadRun('127.0.0.1:3033')
    const add = (from: number, until: number): void => {
      const latency = { p50: 0.3, p90: 1, p99: 12, max: 99 }
      const causes = { failed: {}, lost: {}, unanswered: {} }
      const counts = { connected: 0, failed: 0, lost: 0, unanswered: 0, late: 0, replaced: 0 }
      for (let i = from; i < until; i++) {
        const memory = { anonymous: 9e6 + i * 1e5, resident: 50e6 }
        run.addStats({ ...counts, t: i * 1000, open: 12_345, rate: 50, latency, answers: null, causes }, memory)
      }
    }
    add(0, 5)
    const { page, served, complaints } = await open(() => run.view())
    await expect.poll(() => drawn(page)).toEqual(expected(run.view()))
    expect(await page.locator('#now-open').textContent()).toBe('12,345')
    add(5, 30)
    served.update()
    await expect.poll(() => drawn(page)).toEqual(expected(run.view()))
    run.finish([['connected', '12,345']])
    await served.end()
    await expect.poll(() => page.locator('h2').first().textContent()).toBe('Result')
    await expect.poll(() => drawn(page)).toEqual(expected(run.view()))
    await fits(page, complaints)
  })

  test('ebb top: curves grow, the table sorts by the keyboard, and a new server keeps focus, order and zoom', async () => {
    const run = new TopRun({ sort: 'anonymous', reversed: false })
    const inside = { released: 12e6, releases: 3, longestPause: 12.3, parked: 10, awake: 2 }
    const small = server({ pid: 1, name: 'small', port: 81, anonymous: 9e6, clients: 11_000, inside })
    const large = server({ pid: 2, name: 'large', port: 82, anonymous: 100e6, clients: 9 })
    const [hostile = ''] = HOSTILE
    const added = server({ pid: 3, name: hostile, port: 83, anonymous: 50e6, clients: 10 })
    const sample = (t: number, ...all: (typeof small)[]): void => run.addSample({ ...box(...all), time: t })
    sample(0, small, large)
    const { page, served, complaints } = await open(() => run.view())
    const order = async (): Promise<string[]> =>
      await page.locator('.sortable tbody tr td:nth-child(2)').allTextContents()
    expect(await order()).toEqual(['9', '11,000'])
    for (let t = 1; t <= 10; t++) sample(t * 2000, { ...small, anonymous: 9e6 + t * 1e6 }, large)
    served.update()
    await expect.poll(() => drawn(page)).toEqual(expected(run.view()))
    expect(await page.locator('#now-clients').textContent()).toBe('11,009')

    const sorted = (): Promise<string | null> =>
      page.locator('.sortable th', { hasText: /^clients$/ }).getAttribute('aria-sort')
    await page.locator('.sortable button', { hasText: /^clients$/ }).focus()
    await page.keyboard.press('Enter')
    expect([await order(), await sorted()]).toEqual([['11,000', '9'], 'descending'])
    await page.keyboard.press('Space')
    expect([await order(), await sorted()]).toEqual([['9', '11,000'], 'ascending'])

    const chart = `echarts.getInstanceByDom(document.getElementById('top-memory'))`
    await page.evaluate(`${chart}.dispatchAction({ type: 'dataZoom', start: 25, end: 75 })`)
    sample(30_000, small, large, added)
    served.update()
    await expect.poll(order).toEqual(['9', '10', '11,000'])
    expect(await page.evaluate('document.activeElement.textContent')).toBe('clients')
    expect(await page.evaluate(`${chart}.getOption().dataZoom[0].start`)).toBe(25)
    await expect.poll(() => drawn(page)).toEqual(expected(run.view()))
    expect(await page.locator('main img, main svg, main a').count()).toBe(0)
    run.finish()
    await served.end()
    await expect.poll(() => page.locator('#status').textContent()).toContain('this page stays as it is')
    await fits(page, complaints)
  })
})
