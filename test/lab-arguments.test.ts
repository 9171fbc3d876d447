/** The functions of ebb-lab refuse arguments of a wrong type with a code, and warn of options that they do not know. */
import { once } from 'node:events'
import net from 'node:net'
import { box, diagnose, experiment, load, pulse, record, report } from 'ebb-lab'
import { expect, onTestFinished, test } from 'vitest'

const REFUSED = { code: 'ERR_INVALID_ARG_VALUE' }
const NO_OBJECT = [null, 5, 1n, 'x', Symbol('s'), true, []]
const PLAN = { big: 1, iterations: 1, small: 0 }

/** Calls `call` with each value. */
async function expectRefused(values: unknown[], call: (value: never) => Promise<unknown>): Promise<void> {
  for (const value of values) await expect(call(value as never)).rejects.toMatchObject(REFUSED)
}

test('diagnose()', async () => {
  const { pid } = process
  await expectRefused(NO_OBJECT, (value) => diagnose(pid, value))
  await expectRefused([null, Number.NaN, -1, '3s'], (watch) => diagnose(pid, { watch }))
  await expectRefused([null, 1, 'yes'], (release) => diagnose(pid, { release }))
  await expectRefused([null, 1, 'yes'], (inspect) => diagnose(pid, { inspect }))
})

test('record() and report()', async () => {
  await expectRefused([undefined, ...NO_OBJECT], (value) => record(value))
  await expectRefused([undefined, 'old.ndjson', {}, null], (value) => report(value))
  await expectRefused(NO_OBJECT, (value) => report([], value))
  await expectRefused(['old.ndjson', {}, null], (against) => report([], { against }))
})

test('box()', async () => {
  await expectRefused([undefined, null, 5, []], (value) => box(value))
  await expectRefused(NO_OBJECT, (value) => box('box.yaml', value))
})

test('pulse(), load() and experiment()', async () => {
  const noServers = [undefined, null, 8080, [], {}, { port: 8080 }, { host: '127.0.0.1' }, () => {}]
  await expectRefused(noServers, (value) => pulse(value, PLAN))
  await expectRefused(noServers, (value) =>
    load(value, { shape: 'steady', connections: 1, duration: 1, offset: 0, jitter: 0, seed: 1 })
  )
  await expectRefused(NO_OBJECT, (value) => pulse('127.0.0.1:1', value))
  await expectRefused(NO_OBJECT, (value) => pulse('127.0.0.1:1', PLAN, value))
  await expectRefused([undefined, ...NO_OBJECT], (value) => load('127.0.0.1:1', value))
  await expectRefused([undefined, null, {}, 'node server.js'], (value) => experiment(value))
  for (const name of ['plan', 'pulse']) await expectRefused([5, 'x'], (value) => experiment([], { [name]: value }))
})

test('options that are not known', async () => {
  const warnings: string[] = []
  const listener = ({ message }: Error): void => void warnings.push(message)
  process.on('warning', listener)
  onTestFinished(() => void process.off('warning', listener))
  const server = net.createServer((socket) => socket.resume()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as net.AddressInfo
  await pulse({ host: '127.0.0.1', port }, { ...PLAN, linger: 0, bigSeparation: 0, lingre: 1 } as never)
  await diagnose(process.pid, { watch: 0, relaese: true } as never)
  // A warning is emitted in a later turn.
  await new Promise(setImmediate)
  expect(warnings.filter((text) => text.includes('unknown option'))).toEqual([
    'plan of pulse() ignores the unknown option "lingre": did you mean linger?',
    'diagnose() ignores the unknown option "relaese": did you mean release?'
  ])
})
