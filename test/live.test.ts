/** The live pages of the commands, as a program that reads their events sees them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectTo, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type Cli, ebb, run } from './support/cli.js'

/** Several processes start one after the other, and on a busy machine, each takes its time. */
vi.setConfig({ testTimeout: 240_000 })

/** A server that keeps its connections. */
const SERVER =
  'require("net").createServer((s) => s.on("error", () => {}).resume()).listen(process.env.PORT ?? 0, "127.0.0.1")'

const kept = createServer((socket) => socket.on('error', () => {}).resume())
let folder: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ebb-live-'))
  writeFileSync(join(folder, 'server.cjs'), SERVER)
  await new Promise<void>((resolve) => kept.listen(0, '127.0.0.1', resolve))
})
afterAll(() => {
  kept.close()
  rmSync(folder, { recursive: true })
})

/** Returns the address of a server that keeps its connections. */
function server(): string {
  return `127.0.0.1:${(kept.address() as { port: number }).port}`
}

function connect(address: string): Socket {
  const [host = '', port] = address.split(':')
  return connectTo(Number(port), host)
}

interface Event {
  name: string
  data: {
    state?: string
    title?: string
    status?: string
    html?: string
    charts?: { id: string }[]
    texts?: Record<string, string>
  }
}

/** A page that is open: its events, while they come. */
class OpenPage {
  readonly url: string
  readonly events: Event[] = []
  /** Resolves when the page is told that nothing more comes. */
  readonly ended: Promise<void>
  #tell: () => void = () => {}

  constructor(url: string) {
    this.url = url
    this.ended = this.#read()
  }

  /** Waits until the events fulfil a condition. */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) {
      await new Promise<void>((resolve) => {
        this.#tell = resolve
      })
    }
  }

  /** Waits for an event that has a text. */
  async shows(id: string, pattern: RegExp): Promise<void> {
    await this.until(() => this.events.some(({ data }) => pattern.test(data.texts?.[id] ?? '')))
  }

  async #read(): Promise<void> {
    const answer = await fetch(new URL('/events', this.url))
    expect(answer.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    let text = ''
    for await (const chunk of (answer.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
      const parts = `${text}${chunk}`.split('\n\n')
      text = parts.pop() ?? ''
      for (const part of parts) {
        const [, name = '', data = ''] = /^event: (\w+)\ndata: (.*)$/m.exec(part) ?? []
        if (name !== '') this.events.push({ name, data: JSON.parse(data) })
      }
      this.#tell()
    }
  }
}

/** Opens the page of a command. */
async function pageOf(cli: Cli, pattern = /^Live page at (http:\S+)$/m): Promise<OpenPage> {
  const [, url = ''] = await cli.said(pattern)
  return new OpenPage(url)
}

/** Returns the last whole view. */
function lastView(events: readonly Event[]): Event['data'] {
  return events.findLast(({ name }) => name === 'view')?.data ?? {}
}

test('ebb bench: at its end, the page shows the verdict that is printed', async () => {
  const plan = ['--big', '20', '-i', '1', '-bs', '0.2', '--small', '5', '--pulses', '1', '-ss', '0.1', '-l', '0.2']
  const args = ['bench', '--live', ':0', '--name', 'mine', ...plan, '--', process.execPath, '-e', SERVER]
  const cli = ebb(args)
  const page = await pageOf(cli)
  await page.ended
  expect(page.events.at(-1)?.name).toBe('end')
  const last = lastView(page.events)
  expect(last).toMatchObject({ state: 'finished', title: 'mine - ebb report' })
  const { code, stdout } = await cli.ended
  expect(code).toBe(0)
  const [, headline = ''] = /<p class="headline">(.*?)<\/p>/.exec(last.html ?? '') ?? []
  expect(headline).not.toBe('')
  expect(stdout.replaceAll('\n', ' ')).toContain(headline)
})

test('ebb record: figures while it lasts, then what ebb report --serve shows', async () => {
  const file = join(folder, 'server.ndjson')
  const args = ['record', '--live', ':0', '--out', file, '--', process.execPath, '-e', SERVER]
  const cli = ebb(args)
  const page = await pageOf(cli)
  await page.shows('now-anonymous', / MB$/)
  cli.kill('SIGINT')
  await page.ended
  expect((await cli.ended).code).toBe(0)

  const report = ebb(['report', file, '--serve', ':0'])
  const served = await pageOf(report, /^The page stays at (http:\S+) until Ctrl-C$/m)
  // The page has its figures before it is asked for.
  await served.until(() => served.events.length > 0)
  report.kill('SIGINT')
  await served.ended
  for (const { events } of [page, served]) {
    expect(lastView(events)).toMatchObject({ state: 'finished', charts: [{ id: 'memory' }, { id: 'runtime' }] })
  }
  expect(await report.ended).toMatchObject({ code: 0, stdout: expect.not.stringContaining('Written') })
})

test('ebb pulse: connections while it lasts, then its result', async () => {
  const plan = ['--big', '20', '-i', '1', '--pulses', '0', '-l', '60']
  const cli = ebb(['pulse', '--live', ':0', server(), ...plan])
  const page = await pageOf(cli)
  await page.shows('now-open', /^20$/)
  cli.kill('SIGINT')
  await page.ended
  expect(lastView(page.events).html).toContain('<th scope="row">connected</th><td>20</td>')
  expect((await cli.ended).code).toBe(0)
})

test('--live-keep: the page is there after the run, until Ctrl-C', async () => {
  const plan = ['--big', '5', '-i', '1', '-bs', '0.1', '--pulses', '0', '-l', '0.1']
  const cli = ebb(['pulse', '--live-keep', '--live', ':0', server(), ...plan])
  const page = await pageOf(cli, /^The page stays at (http:\S+) until Ctrl-C$/m)
  await page.until(() => page.events.length > 0)
  expect(lastView(page.events).html).toContain('<th scope="row">connected</th><td>5</td>')
  cli.kill('SIGINT')
  await page.ended
  expect((await cli.ended).code).toBe(0)
})

test('ebb box: its servers, stacked, in each of several runs', async () => {
  const file = join(folder, 'two.yaml')
  const command = `PORT={port} ${process.execPath} ${join(folder, 'server.cjs')}`
  const servers = [{ command, count: 2, plan: { big: 10, iterations: 1, small: 0, pulses: 0, linger: '200ms' } }]
  writeFileSync(file, JSON.stringify({ duration: '1500ms', rest: '500ms', servers }))
  const cli = ebb(['box', '--live', ':0', file, '--no-control', '--runs', '2'])
  const page = await pageOf(cli)
  await page.ended
  const { code, stderr } = await cli.ended
  expect([code, stderr]).toEqual([0, stderr])
  expect(page.events.map(({ data }) => data.status)).toContain('Running two, run 2 of 2')
  const last = lastView(page.events)
  expect(last).toMatchObject({ state: 'finished', charts: [{ id: 'box' }] })
  // The report on both runs, as it is printed.
  expect(last.html).toMatch(/<tr[^>]*>(?:(?!<\/tr>).)*\bruns\b(?:(?!<\/tr>).)*>2</s)
})

test('ebb top: the servers that were named, without a terminal until Ctrl-C', async () => {
  const top = ['top', server().replace('127.0.0.1', ''), '--every', '50ms', '--live', ':0']
  const clients = [connect(server()), connect(server())]
  const [quiet, json] = [ebb(top), ebb([...top, '--json'])]
  for (const cli of [quiet, json]) {
    const page = await pageOf(cli)
    await page.shows('now-clients', /^2$/)
    await page.shows('now-servers', /^1$/)
    expect(lastView(page.events).charts?.slice(0, 2)).toMatchObject([{ id: 'top-memory' }, { id: 'top-clients' }])
    cli.kill('SIGINT')
    await page.ended
    expect(lastView(page.events).state).toBe('finished')
  }
  for (const client of clients) client.destroy()
  expect(await quiet.ended).toMatchObject({ code: 0, stdout: '' })
  const { code, stdout } = await json.ended
  expect([code, JSON.parse(stdout.split('\n')[0] ?? '').servers]).toMatchObject([130, [{ clients: 2 }]])
})

test('a given port that is in use is an error before the run', async () => {
  const { port } = kept.address() as { port: number }
  const { code, stdout, stderr } = await run(['record', '--live', `:${port}`, '--', process.execPath, '-e', SERVER])
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(
    /^ebb: EADDRINUSE: cannot serve the live page on 127\.0\.0\.1:\d+: .*: give another port, or :0/
  )
})
