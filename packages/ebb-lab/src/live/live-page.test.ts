import { request } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import type { Page } from 'playwright-core'
import { afterEach, describe, expect, test } from 'vitest'
import type { Recording } from '../record/recording.js'
import { chromiumForTests, hasChromium } from '../report/testing/chromium.js'
import { HOSTILE } from '../report/testing/hostile.js'
import { sideBySide, synthetic } from '../report/testing/synthetic.js'
import { type LiveServer, serveLive } from './server.js'
import { ServerRuns } from './server-runs.js'
import type { LiveView } from './view.js'

const servers: LiveServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.end()
})

async function serve(source: () => LiveView, host = '127.0.0.1'): Promise<LiveServer> {
  const server = await serveLive({ host, port: 0, isFlexible: false }, source)
  servers.push(server)
  return server
}

/** A run that has come as far as `until`, ms. */
function runUntil(recording: Recording, until: number, runs = new ServerRuns()): ServerRuns {
  const { header, samples, events } = recording
  runs.begin(header, 7)
  for (const event of events) if (event.t <= until) runs.addEvent(event)
  for (const sample of samples) if (sample.t <= until) runs.addSample(sample)
  return runs
}

/** Asks for a path. Node's `fetch()` does not set a Host. */
async function ask(
  url: string,
  path: string,
  headers: Record<string, string> = {}
): Promise<{ status: number; text: string; headers: object }> {
  return await new Promise((resolve, reject) => {
    request(new URL(path, url), { headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }))
    })
      .on('error', reject)
      .end()
  })
}

/** Relays connections to a page, and cuts them all when it is told to. */
async function relayTo(url: string): Promise<{ url: string; cut: () => void; close: () => Promise<void> }> {
  const sockets = new Set<Socket>()
  const server = createServer((from) => {
    const to = connect(Number(new URL(url).port), '127.0.0.1')
    for (const socket of [from, to]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
    }
    from.pipe(to).pipe(from)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  const close = async (): Promise<void> => {
    cut()
    await new Promise((resolve) => server.close(resolve))
  }
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}/`, cut, close }
}

test('refuses what a page of another name asks for, and what is not there', async () => {
  const { url } = await serve(() => new ServerRuns().view())
  expect((await ask(url, '/', { host: 'evil.example' })).status).toBe(403)
  expect((await ask(url, '/events', { origin: 'http://evil.example' })).status).toBe(403)
  expect((await ask(url, '/nothing')).status).toBe(404)
  const page = await ask(url, '/')
  expect(page.headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
  expect(page.headers).not.toHaveProperty('access-control-allow-origin')
})

test('needs the token of its URL if it is not on loopback', async () => {
  const { url } = await serve(() => new ServerRuns().view(), '0.0.0.0')
  const { port, search } = new URL(url)
  expect(search).toMatch(/^\?token=[\w-]{24}$/)
  const here = `http://127.0.0.1:${port}`
  for (const path of ['/', '/events', '/echarts.js', '/?token=wrong']) expect((await ask(here, path)).status).toBe(401)
  const page = await ask(here, `/${search}`)
  expect(page.status).toBe(200)
  const [, library = ''] = /src="([^"]+)"/.exec(page.text) ?? []
  expect((await ask(here, library.replaceAll('&amp;', '&'))).status).toBe(200)
})

test('a flexible port moves on if it is in use, a given one is an error', async () => {
  const { url } = await serve(() => new ServerRuns().view())
  const port = Number(new URL(url).port)
  const next = await serveLive({ host: '127.0.0.1', port, isFlexible: true }, () => new ServerRuns().view())
  servers.push(next)
  expect(Number(new URL(next.url).port)).toBeGreaterThan(port)
  await expect(
    serveLive({ host: '127.0.0.1', port, isFlexible: false }, () => new ServerRuns().view())
  ).rejects.toThrow(
    expect.objectContaining({
      code: 'EADDRINUSE',
      message: expect.stringMatching(/^cannot serve the live page on .* :0 for a free one$/)
    })
  )
})

test('a page that reads nothing stops neither the others nor the end', async () => {
  const runs = runUntil(synthetic({}), 60_000)
  const server = await serve(() => runs.view())
  const { hostname, port } = new URL(server.url)
  const deaf = connect(Number(port), hostname)
  await new Promise((resolve) => deaf.once('connect', resolve))
  deaf.pause()
  deaf.write(`GET /events HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`)
  const answers: string[] = []
  await new Promise<void>((resolve, reject) => {
    request(new URL('/events', server.url), (response) => {
      response.setEncoding('utf8').on('data', (text: string) => {
        answers.push(text)
        if (answers.join('').includes('event: view')) resolve()
      })
    })
      .on('error', reject)
      .end()
  })
  await server.end()
  deaf.destroy()
  await expect.poll(() => answers.join('')).toContain('event: end')
})

describe.skipIf(!hasChromium)('in Chromium', { timeout: 60_000 }, () => {
  const browser = chromiumForTests()

  interface Opened {
    page: Page
    /** What the browser complains about, and requests to other hosts. */
    complaints: string[]
  }

  async function open(url: string, width = 1280, colorScheme: 'light' | 'dark' = 'light'): Promise<Opened> {
    const page = await browser().newPage({ viewport: { width, height: 900 }, colorScheme })
    const complaints: string[] = []
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('dialog', async (dialog) => {
      complaints.push(dialog.message())
      await dialog.dismiss()
    })
    page.on('request', (asked) => {
      if (new URL(asked.url()).host !== new URL(url).host && !asked.url().startsWith('data:'))
        complaints.push(asked.url())
    })
    await page.goto(url)
    await page.waitForSelector('#memory canvas')
    return { page, complaints }
  }

  /** Returns the points of a curve as the browser has them. */
  async function pointsOf(page: Page, chart: string, id: string): Promise<[number, number][] | undefined> {
    return await page.evaluate(
      `echarts.getInstanceByDom(document.getElementById('${chart}'))?.getOption().series.find((one) => one.id === '${id}').data`
    )
  }

  function curve(view: LiveView, chart: string, id: string): unknown {
    const option = view.charts.find((one) => one.id === chart)?.option as { series: { id: string; data: unknown }[] }
    return option.series.find((one) => one.id === id)?.data
  }

  test('the page grows with the run, and shows the report at its end', async () => {
    const [ebb, ebbControl] = sideBySide() as [Recording, Recording]
    const runs = runUntil(ebb, 5000)
    const server = await serve(() => runs.view())
    const { page, complaints } = await open(server.url)
    expect(await pointsOf(page, 'memory', '0:anonymous')).toEqual(curve(runs.view(), 'memory', '0:anonymous'))
    const label = page.locator('#memory')
    const before = await label.getAttribute('aria-label')
    for (const sample of ebb.samples.filter(({ t }) => t > 5000 && t <= 9000)) runs.addSample(sample)
    for (const event of ebb.events.filter(({ t }) => t > 5000 && t <= 9000)) runs.addEvent(event)
    server.update()
    const grown = curve(runs.view(), 'memory', '0:anonymous')
    await expect.poll(() => pointsOf(page, 'memory', '0:anonymous')).toEqual(grown)
    for (const id of ['0:system', '0:clients']) {
      await expect.poll(() => pointsOf(page, 'runtime', id)).toEqual(curve(runs.view(), 'runtime', id))
    }
    expect(await page.locator('#now-anonymous').textContent()).toMatch(/MB$/)
    expect(await label.getAttribute('aria-label')).not.toBe(before)

    runs.end(ebb)
    runUntil(ebbControl, 1e9, runs)
    server.update()
    await expect.poll(() => page.locator('#status').textContent()).toContain('(control)')
    expect(await pointsOf(page, 'memory', '1:anonymous')).toEqual(curve(runs.view(), 'memory', '1:anonymous'))
    runs.end(ebbControl)
    await runs.finish([ebb, ebbControl])
    await server.end()
    await expect.poll(() => page.locator('h2').first().textContent()).toBe('Verdict')
    expect(await page.locator('#status').textContent()).toContain('this page stays as it is')
    expect(await page.locator('tr.main td').first().textContent()).toMatch(/^[✓~✗] \d\.\d\d$/)
    expect(await page.locator('#pause').isHidden()).toBe(true)
    expect(complaints).toEqual([])
    await page.close()
  })

  test('a page whose connection was lost goes on where it was', async () => {
    const recording = synthetic({})
    const runs = runUntil(recording, 4000)
    const server = await serve(() => runs.view())
    const relay = await relayTo(server.url)
    const { page } = await open(relay.url)
    // A whole view would make new buttons.
    await page.evaluate('document.querySelector(".curves").dataset.mark = "same page"')
    relay.cut()
    for (const sample of recording.samples.filter(({ t }) => t > 4000)) runs.addSample(sample)
    await expect.poll(() => page.locator('#status').textContent()).toContain('lost')
    await expect
      .poll(() => pointsOf(page, 'memory', '0:anonymous'))
      .toEqual(curve(runs.view(), 'memory', '0:anonymous'))
    expect(await page.locator('.curves').first().getAttribute('data-mark')).toBe('same page')
    await expect.poll(() => page.locator('#status').textContent()).toContain('Recording')
    await page.close()
    await relay.close()
  })

  test('curves, pause and skip link work by the keyboard', async () => {
    const recording = synthetic({})
    const runs = runUntil(recording, 4000)
    const server = await serve(() => runs.view())
    const { page, complaints } = await open(server.url, 420)
    const focused = async (): Promise<string> => await page.evaluate('document.activeElement.textContent')
    await page.keyboard.press('Tab')
    expect(await focused()).toBe('Skip to the figures')
    await page.keyboard.press('Tab')
    expect(await focused()).toBe('Pause')
    await page.keyboard.press('Enter')
    const time = await page.locator('#now-time').textContent()
    runs.addSample({ ...(recording.samples.at(-1) as Recording['samples'][0]), t: 90_000 })
    server.update()
    await page.keyboard.press('Tab')
    expect(await focused()).toBe('anonymous')
    await page.keyboard.press('Space')
    expect(await page.locator('.curves button').first().getAttribute('aria-pressed')).toBe('false')
    const selected = `echarts.getInstanceByDom(document.getElementById('memory')).getOption().legend[0].selected`
    expect(await page.evaluate(selected)).toEqual({ anonymous: false })
    expect(await page.locator('#now-time').textContent()).toBe(time)
    await page.locator('#pause').click()
    await expect.poll(() => page.locator('#now-time').textContent()).toBe('90.0 s')
    expect(await page.evaluate(selected)).toEqual({ anonymous: false })
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(420)
    expect(complaints).toEqual([])
    await page.close()
  })

  test('text of a run makes no element and runs no script, in light and in dark', async () => {
    const runs = new ServerRuns()
    for (const name of HOSTILE) {
      const recording = synthetic({ name, command: [name], runtime: { name, version: name } })
      recording.header.kernel = name
      runUntil(recording, 4000, runs)
    }
    const server = await serve(() => runs.view())
    const { page, complaints } = await open(server.url, 1600, 'dark')
    expect(await page.locator('img, svg, a[href^="javascript"]').count()).toBe(0)
    expect(await page.locator('script').count()).toBe(2)
    expect(complaints).toEqual([])
    // The policy blocks a script that got in nevertheless.
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('script'), { textContent: 'alert(1)' }))`
    )
    await expect.poll(() => complaints.join()).toContain('Content Security Policy')
    await page.close()
  })
})
