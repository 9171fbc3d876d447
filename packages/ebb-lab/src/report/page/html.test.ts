import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Recording } from '../../record/recording.js'
import type { Run } from '../run.js'
import { chromiumForTests, hasChromium } from '../testing/chromium.js'
import { HOSTILE } from '../testing/hostile.js'
import { sideBySide, synthetic } from '../testing/synthetic.js'
import { judge } from '../verdict.js'
import { renderHtml } from './html.js'

function runOf(recording: Recording, control: Recording | null = null): Run {
  return { recording, control, verdict: judge(recording, control ?? undefined) }
}

/** Returns a run with the text in every field that comes from outside. */
function hostileRun(text: string): Run {
  const recording = synthetic({ name: text, command: [text, text], runtime: { name: text, version: text } })
  recording.header.kernel = text
  recording.header.startedAt = text
  recording.header.machine.arch = text
  recording.notes.push(text)
  recording.events.push({ type: 'event', t: 1, event: 'note', text }, { type: 'event', t: 2, event: 'line', text })
  const run = runOf(recording)
  run.verdict.notes.push({ code: 'hostile', text })
  return run
}

const [ebb, ebbControl, net, netControl] = sideBySide() as [Recording, Recording, Recording, Recording]
const honest = [runOf(ebb, ebbControl), runOf(net, netControl)]

describe('the page, as text', () => {
  test('has the verdict, the recordings and the notes', async () => {
    const html = await renderHtml([...honest, runOf(synthetic({ name: 'alone' }))], ['A note on the report.'])
    for (const text of [
      '4.33',
      'node server.js',
      'Linux 6.1.0-28-amd64',
      'There is no control',
      'A note on the report.'
    ]) {
      expect(html).toContain(text)
    }
  })
  test('contains no address to fetch from', async () => {
    // Without ECharts, because its strings and comparisons look like elements.
    const html = (await renderHtml(honest)).replace(/<script>.*?<\/script>/s, '')
    expect(html).toContain("default-src 'none'")
    expect(html).not.toMatch(/<(link|img|iframe|object|embed|base)\b/i)
    expect(html).not.toMatch(/<script[^>]*\ssrc\s*=/i)
    expect(html).not.toMatch(/@import|url\(/i)
  })
  test('has no element made of text from a recording', async () => {
    const tags = (html: string): string => (html.match(/<\/?[a-z][a-z0-9]*/gi) ?? []).join()
    const tame = await renderHtml([hostileRun('tame')], ['tame'])
    for (const text of HOSTILE) expect(tags(await renderHtml([hostileRun(text)], [text]))).toBe(tags(tame))
  })
})

describe.skipIf(!hasChromium)('the page, in Chromium', { timeout: 60_000 }, () => {
  const browser = chromiumForTests()
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ebb-html-'))
  }, 60_000)
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true })
  })

  interface Opened {
    page: Page
    /** Requests of the page besides itself, its errors and warnings, and its dialogs. */
    requests: string[]
    complaints: string[]
    dialogs: string[]
  }

  async function open(
    html: string,
    viewport = { width: 1280, height: 900 },
    colorScheme: 'light' | 'dark' = 'light'
  ): Promise<Opened> {
    const file = join(folder, `${Math.random()}.html`)
    await writeFile(file, html)
    const page = await browser().newPage({ viewport, colorScheme })
    const url = pathToFileURL(file).href
    const opened: Opened = { page, requests: [], complaints: [], dialogs: [] }
    page.on('request', (request) => request.url() === url || opened.requests.push(request.url()))
    page.on('console', (message) => {
      // A warning about the pixels that this test reads.
      if (!message.text().includes('getImageData')) opened.complaints.push(message.text())
    })
    page.on('pageerror', (error) => opened.complaints.push(String(error)))
    page.on('dialog', async (dialog) => {
      opened.dialogs.push(dialog.message())
      await dialog.dismiss()
    })
    await page.goto(url)
    await page.waitForSelector('#runtime canvas')
    return opened
  }

  /** Returns the number of colours in a chart. A blank canvas has one. */
  async function coloursOf(page: Page, id: string): Promise<number> {
    return await page.evaluate(`(() => {
      const canvas = document.querySelector('#${id} canvas')
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
      return new Set(new Uint32Array(data.buffer)).size
    })()`)
  }

  async function hover(page: Page): Promise<string> {
    await page.locator('#memory').scrollIntoViewIfNeeded()
    const box = await page.locator('#memory').boundingBox()
    if (!box) throw new Error('no chart')
    await page.mouse.move(box.x + 150, box.y + 200)
    await page.mouse.move(box.x + 160, box.y + 202)
    const tip = page.locator('#memory .tip')
    await tip.waitFor()
    return (await tip.textContent()) ?? ''
  }

  test('draws its charts, without requests, errors and warnings', async () => {
    const { page, requests, complaints, dialogs } = await open(await renderHtml(honest))
    expect(await coloursOf(page, 'memory')).toBeGreaterThan(10)
    expect(await coloursOf(page, 'runtime')).toBeGreaterThan(10)
    const tip = await hover(page)
    expect(tip).toContain('node:net')
    expect(tip).toMatch(/anonymous\d+\.\d MB/)
    expect({ requests, complaints, dialogs }).toEqual({ requests: [], complaints: [], dialogs: [] })
    await page.close()
  })

  test('runs no script and makes no element from text of a recording', async () => {
    const { page, requests, complaints, dialogs } = await open(await renderHtml(HOSTILE.map(hostileRun), HOSTILE))
    expect(await hover(page)).toContain('<img src=x onerror=alert(1)>')
    expect(await page.locator('img, svg, a[href^="javascript"]').count()).toBe(0)
    expect(await page.locator('script').count()).toBe(3)
    expect(await page.locator('h3').first().textContent()).toBe(HOSTILE[0])
    expect({ requests, complaints, dialogs }).toEqual({ requests: [], complaints: [], dialogs: [] })
    await page.close()
  })

  test('the policy blocks an injected script and its request', async () => {
    const html = (await renderHtml(honest)).replace(
      '<main>',
      '<main><script>alert(1)</script><img src="http://127.0.0.1:9/x">'
    )
    const { page, complaints, dialogs } = await open(html)
    expect(dialogs).toEqual([])
    expect(complaints.join()).toContain('Content Security Policy')
    await page.close()
  })

  test('changes its layout with the width of the window', async () => {
    const { page, complaints } = await open(await renderHtml(honest))
    const heightOf = async (): Promise<number> => (await page.locator('#memory').boundingBox())?.height ?? 0
    const wide = await heightOf()
    await page.setViewportSize({ width: 420, height: 900 })
    await expect.poll(heightOf).toBeGreaterThan(wide)
    await expect.poll(() => page.evaluate(`document.querySelector('#memory canvas').clientWidth`)).toBeLessThan(420)
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(420)
    await page.setViewportSize({ width: 1280, height: 900 })
    await expect.poll(heightOf).toBe(wide)
    expect(complaints).toEqual([])
    await page.close()
  })

  test("is dark if the reader's system is dark", async () => {
    const html = await renderHtml(honest)
    const corner = async (page: Page): Promise<number> =>
      await page.evaluate(`document.querySelector('#memory canvas').getContext('2d').getImageData(2, 2, 1, 1).data[0]`)
    const light = await open(html)
    const dark = await open(html, undefined, 'dark')
    expect(await corner(light.page)).toBe(255)
    expect(await corner(dark.page)).toBeLessThan(64)
    await dark.page.emulateMedia({ colorScheme: 'light' })
    await expect.poll(() => corner(dark.page)).toBe(255)
    expect(dark.complaints).toEqual([])
    await Promise.all([light.page.close(), dark.page.close()])
  })
})
