import { randomBytes } from 'node:crypto'
import { Session } from 'node:inspector/promises'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { Child, FEW_DESCRIPTORS } from '../../../../test/support/child.js'
import { descriptors } from '../../../../test/support/sockets.js'
import { ownAnonymous } from '../proc/process.js'
import { release } from './release.js'

/** Returns about 40 MB of small objects on V8's heap. */
function spike(): unknown {
  return Array.from({ length: 40 }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: `${i}` })))
}

test('returns what a spike took', async () => {
  await release()
  const rest = ownAnonymous()
  let held: unknown = spike()
  const high = ownAnonymous()
  expect(held).toBeDefined()
  held = undefined
  const { before, afterCollect, afterTrim, ms, pauseMs } = await release()
  expect(high).toBeGreaterThan(rest)
  expect(before - afterTrim).toBeGreaterThan((high - rest) / 2)
  expect(afterCollect).toBeLessThan(before)
  expect(pauseMs).toBeGreaterThan(0)
  expect(ms).toBeGreaterThanOrEqual(pauseMs)
})

test('calls during a release share it; a later call starts its own', async () => {
  const [a, b] = [release(), release()]
  expect(a).toBe(b)
  await Promise.resolve()
  expect(release()).toBe(a)
  const first = await a
  const c = release()
  expect(c).not.toBe(a)
  expect(await c).not.toBe(first)
})

test('leaves no descriptor', async () => {
  await release()
  const before = descriptors()
  for (let i = 0; i < 5; i++) await release()
  expect(descriptors()).toBe(before)
})

test('works when no descriptor is left, also the first time', async () => {
  const child = new Child(
    `
    import { openSync } from 'node:fs'
    import { listen, release } from 'ebb'
    listen({ port: 0 }).unref()
    // Memory outside of V8's heap, which is returned in steps.
    const small = Array.from({ length: 300_000 }, () => Buffer.allocUnsafeSlow(300))
    try { for (;;) openSync('/dev/null') } catch {}
    small.length = 1
    for (const workers of [false, true]) {
      const { before, afterTrim } = await release({ workers })
      console.log(JSON.stringify([before, afterTrim]))
    }`,
    { shell: FEW_DESCRIPTORS }
  )
  const [before, afterTrim] = await child.next<[number, number]>()
  expect(afterTrim).toBeLessThan(before)
  expect(await child.next()).toHaveLength(2)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('works beside a profiler of the program, which goes on', async () => {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('HeapProfiler.enable')
  await session.post('Profiler.start')
  expect(await release()).toMatchObject({ afterTrim: expect.any(Number) })
  const { profile } = await session.post('Profiler.stop')
  expect(profile.nodes.length).toBeGreaterThan(0)
  expect(await release()).toMatchObject({ afterTrim: expect.any(Number) })
  session.disconnect()
})

test('works in a worker thread, and does not keep it alive', async () => {
  const child = new Child(`
    import { Worker } from 'node:worker_threads'
    const print = 'console.log(JSON.stringify(typeof ms))'
    const source = "import('ebb').then(({ release }) => release()).then(({ ms }) => " + print + ')'
    new Worker(source, { eval: true }).on('exit', (code) => console.log(JSON.stringify(code)))`)
  expect(await child.next()).toBe('number')
  expect(await child.next()).toBe(0)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

/** A client of Node's inspector: JSON in WebSocket frames. */
async function inspect(
  url: string
): Promise<{ post(method: string): Promise<Record<string, unknown>>; close(): void }> {
  const { hostname, port, pathname } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.write(
    [
      `GET ${pathname} HTTP/1.1`,
      `Host: ${hostname}:${port}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
      '\r\n'
    ].join('\r\n')
  )
  const waiting = new Map<number, (result: Record<string, unknown>) => void>()
  let upgraded: (() => void) | undefined
  const ready = new Promise<void>((resolve) => {
    upgraded = resolve
  })
  let received = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk])
    if (upgraded !== undefined) {
      const end = received.indexOf('\r\n\r\n')
      if (end === -1) return
      received = received.subarray(end + 4)
      upgraded()
      upgraded = undefined
    }
    for (let text = frame(); text !== undefined; text = frame()) {
      const { id, result } = JSON.parse(text) as { id?: number; result: Record<string, unknown> }
      if (id !== undefined) waiting.get(id)?.(result)
    }
  })
  /** The next whole frame's text. A server's frames are not masked; Node's are not fragmented. */
  function frame(): string | undefined {
    if (received.length < 2) return undefined
    const short = (received[1] as number) & 127
    const header = short === 127 ? 10 : short === 126 ? 4 : 2
    if (received.length < header) return undefined
    const length =
      short === 127 ? Number(received.readBigUInt64BE(2)) : short === 126 ? received.readUInt16BE(2) : short
    if (received.length < header + length) return undefined
    const text = received.toString('utf8', header, header + length)
    received = received.subarray(header + length)
    return text
  }
  await ready
  let lastId = 0
  return {
    post(method) {
      const id = ++lastId
      const text = Buffer.from(JSON.stringify({ id, method }))
      // Masked with zeros: as it is.
      socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), text]))
      return new Promise((resolve) => waiting.set(id, resolve))
    },
    close: () => socket.destroy()
  }
}

test('works under a debugger, whose profile goes on', async () => {
  const child = new Child(
    `
    import { release } from 'ebb'
    process.stdin.on('data', async () => console.log(JSON.stringify(await release())))`,
    { args: ['--inspect=127.0.0.1:0'] }
  )
  await child.until(() => /ws:\S+/.test(child.stderr))
  const debug = await inspect(/ws:\S+/.exec(child.stderr)?.[0] ?? '')
  for (const method of ['Profiler.enable', 'HeapProfiler.enable', 'Debugger.enable', 'Profiler.start'])
    await debug.post(method)
  for (let i = 0; i < 2; i++) expect(await child.ask('release')).toMatchObject({ afterTrim: expect.any(Number) })
  expect(await debug.post('Profiler.stop')).toMatchObject({ profile: { nodes: expect.any(Array) } })
  debug.close()
})
