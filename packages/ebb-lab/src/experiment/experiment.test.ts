import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { reactor } from 'ebb/sys'
import { describe, expect, onTestFinished, test } from 'vitest'
import { MAIN, server as serving } from '../../../../test/support/cli.js'
import { descendants } from '../../../../test/support/processes.js'
import { descriptors, directory, until } from '../../../../test/support/sockets.js'
import { watchFolder } from '../process/reaper.js'
import { readRecording } from '../record/read.js'
import { judge } from '../report/verdict.js'
import { type ExperimentEvent, type ExperimentOptions, experiment, type Target } from './experiment.js'

const SERVE = [process.execPath, MAIN, 'serve', '--port', '{port}']
const SMALL: ExperimentOptions = {
  plan: { big: 40, iterations: 1, bigSeparation: 100, small: 10, smallSeparation: 50, linger: 250, pulses: 1 },
  controlPulses: 1,
  rest: 200
}

const target = (name: string, command: readonly string[] = SERVE): Target => ({ name, command })

/**
 * Counts the processes that an experiment leaves. The reaper lives as long as this process, so it is started before.
 */
function during(): { before: number[]; left: () => number[] } {
  watchFolder(null)
  const before = descendants(process.pid)
  return { before, left: () => descendants(process.pid).filter((pid) => !before.includes(pid)) }
}

test('runs a server and then its control; the verdict is that of the recordings', async () => {
  const out = directory()
  const processes = during()
  // The reactor of this thread lives as long as the thread, so it is opened before the count.
  reactor()
  const events: ExperimentEvent[] = []
  const result = await experiment([target('mine')], { ...SMALL, out, onEvent: (event) => events.push(event) })
  expect(
    events.filter(({ event }) => event === 'start' || event === 'end').map(({ role, event }) => [role, event])
  ).toEqual([
    ['main', 'start'],
    ['main', 'end'],
    ['control', 'start'],
    ['control', 'end']
  ])
  expect(result).toMatchObject({ broken: [], failures: 0 })
  const [verdict] = result.verdicts
  expect(verdict).toMatchObject({ name: 'mine', big: 40, small: 10, connects: 50, failed: 0, lost: 0 })
  expect(verdict?.need).not.toBeNull()
  expect(readdirSync(out).sort()).toEqual([
    'memory.svg',
    'mine.control.ndjson',
    'mine.ndjson',
    'report.html',
    'runtime.svg'
  ])
  const [main, control] = await Promise.all([
    readRecording(join(out, 'mine.ndjson')),
    readRecording(join(out, 'mine.control.ndjson'))
  ])
  expect(judge(main, control)).toEqual(verdict)
  expect(processes.left()).toEqual([])
})

test('a second process that begins to listen later is refused, like one at the start', async () => {
  const processes = during()
  // A process with a copy of the descriptor listens as well.
  const late = `const server = require('node:net').createServer().listen(process.argv[1], () => setTimeout(() => {
    require('node:child_process').spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', server._handle.fd] })
  }, 300))`
  const command = [process.execPath, '-e', late, '{port}']
  await expect(experiment([target('two', command)], { ...SMALL, rest: 1500 })).rejects.toThrow(
    /^2 processes listen on port \d+: .*--tree/
  )
  expect(processes.left()).toEqual([])
})

test('a running server has no control, and the verdict says what is missing', async () => {
  const server = await serving()
  const { verdicts } = await experiment([{ name: 'there', pid: server.pid }], SMALL)
  expect(verdicts[0]).toMatchObject({ need: null, retention: null })
  expect(verdicts[0]?.missing.length).toBeGreaterThan(0)
  expect(server.process.exitCode).toBeNull()
})

test('lists the limits that were exceeded', async () => {
  const limits = { maxRetention: 0.001 }
  const { broken } = await experiment([target('mine')], { ...SMALL, limits })
  expect(broken).toHaveLength(1)
  expect(broken[0]).toMatch(/^mine: retention is [\d.]+, the limit is 0\.00/)
})

test('two servers with one name are refused before anything starts', async () => {
  const processes = during()
  await expect(experiment([target('a'), target('b'), target('a')], SMALL)).rejects.toThrow('two servers are called "a"')
  expect(processes.left()).toEqual([])
})

test('an invalid plan is refused before anything starts', async () => {
  const started: unknown[] = []
  const options = { plan: { big: -1 }, onEvent: (event: ExperimentEvent) => started.push(event) }
  await expect(experiment([target('a')], options)).rejects.toThrow()
  expect(started).toEqual([])
})

test('names that would give the same file name get different files', async () => {
  const out = directory()
  const server = await serving()
  const { port } = server
  const names = ['a/b', 'a b', '🦊', '🐻', '..', 'n'.repeat(300), `${'n'.repeat(299)}m`]
  const targets = names.map((name) => ({ name, port }))
  const { files } = await experiment(targets, { ...SMALL, plan: { ...SMALL.plan, big: 0, linger: 150 }, rest: 0, out })
  const recordings = files.filter((file) => file.endsWith('.ndjson'))
  expect(new Set(recordings).size).toBe(names.length)
  expect(readdirSync(out).filter((file) => file.endsWith('.ndjson'))).toHaveLength(names.length)
  const read = await Promise.all(recordings.map((file) => readRecording(file)))
  expect(read.map(({ header }) => header.name)).toEqual(names)
})

const PHASES: [string, (event: ExperimentEvent) => boolean][] = [
  ['at rest', ({ event }) => event === 'start'],
  ['connecting', ({ event }) => event === 'pulse'],
  ['holding', ({ event }) => event === 'connected'],
  ['after a pulse', ({ event }) => event === 'closed'],
  ['in the control', ({ event, role }) => role === 'control' && event === 'pulse']
]

describe('an abort', () => {
  test.each(PHASES)('%s rejects with its reason and leaves no process', async (_, when) => {
    const processes = during()
    const abort = new AbortController()
    onTestFinished(() => abort.abort())
    const running = experiment([target('mine'), target('next')], {
      ...SMALL,
      signal: abort.signal,
      onEvent: (event) => {
        if (when(event)) abort.abort(new Error('enough'))
      }
    })
    await expect(running).rejects.toThrow('enough')
    expect(processes.left()).toEqual([])
  })

  test('leaves no descriptor', async () => {
    const once = async (): Promise<void> => {
      const abort = new AbortController()
      const onEvent = ({ event }: ExperimentEvent): void => {
        if (event === 'connected') abort.abort(new Error('enough'))
      }
      await expect(experiment([target('mine')], { ...SMALL, signal: abort.signal, onEvent })).rejects.toThrow('enough')
    }
    // The first run opens descriptors that stay open for the life of the process.
    await once()
    const open = descriptors()
    await once()
    await until(() => descriptors() === open)
  })
})

test.each([
  // Without a complete main run, there is nothing that a control run could be compared with.
  { role: 'main', runs: ['main'], missing: /^The server ended by SIGKILL after .* s, in the middle of a pulse/ },
  { role: 'control', runs: ['main', 'control'], missing: /SIGKILL|ended/ }
])('a server that dies ends its $role run at once, and the verdict says what is missing', async (expected) => {
  const processes = during()
  const runs: string[] = []
  const notes: ExperimentEvent[] = []
  const { verdicts, failures } = await experiment([target('mine')], {
    ...SMALL,
    // The run that dies ends before this, else the test would not end.
    plan: { ...SMALL.plan, linger: expected.role === 'main' ? 3_600_000 : 250 },
    onEvent: (event) => {
      if (event.event === 'start') runs.push(event.role)
      // On a busy machine, the recorder notes that it falls behind, or reads slowly.
      if (event.event === 'note' && !['recorder-behind', 'smaps-slow'].includes(String(event.code))) notes.push(event)
      if (event.event !== 'connected' || event.role !== expected.role) return
      process.kill(processes.left()[0] as number, 'SIGKILL')
    }
  })
  expect(runs).toEqual(expected.runs)
  expect(notes).toMatchObject([
    { role: expected.role, code: 'server-ended', text: expect.stringContaining('ended by SIGKILL') }
  ])
  expect(failures).toBeGreaterThan(0)
  expect(verdicts[0]?.retention).toBeNull()
  expect(verdicts[0]?.missing.join(' ')).toMatch(expected.missing)
  expect(processes.left()).toEqual([])
})
