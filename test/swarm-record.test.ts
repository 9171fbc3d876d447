/** Agents that start the server themselves (`--record-command`): verdicts with a control run on another machine. */
import { join } from 'node:path'
import { readRecording } from 'ebb-lab/testing'
import { describe, expect, test } from 'vitest'
import { type Cli, ebb, MAIN, run } from './support/cli.js'
import { Nats, noNats } from './support/nats.js'
import { alive, commandOf, descendants } from './support/processes.js'
import { directory, freePort, until } from './support/sockets.js'

const PLAN = ['--big', '60', '-i', '1', '-bs', '200ms', '--small', '20', '--pulses', '2', '-ss', '100ms', '-l', '300ms']
/** A pulse that holds until it is stopped. */
const LONG = ['--big', '60', '-i', '1', '--pulses', '0', '-l', '1h']
const SERVE = `exec "${process.execPath}" "${MAIN}" serve --port {port}`

interface Beside extends Cli {
  port: number
}

/** Starts NATS, an agent that connects, and an agent that starts a server with `command`. */
async function swarm(command: string): Promise<{ nats: Nats; beside: Beside; args: string[] }> {
  const nats = await Nats.start()
  const options = ['--swarm', 'lab', '--nats', nats.url]
  const port = await freePort()
  const [a, beside] = [
    ebb(['agent', ...options, '--name', 'a']),
    ebb(['agent', ...options, '--name', 'beside', '--record-port', `${port}`, '--record-command', command])
  ]
  await Promise.all([
    a.said(/^Agent /m),
    beside.said(/^Agent .*: starts and records the server on port \d+, makes no/m)
  ])
  return { nats, beside: Object.assign(beside, { port }), args: [...options, '--server', `127.0.0.1:${port}`] }
}

/** Returns the processes below the agent whose command line contains `text`. */
function below(beside: Beside, text: string): number[] {
  return descendants(beside.pid).filter((pid) => commandOf(pid).includes(text))
}

describe.skipIf(noNats !== undefined)('an agent with --record-command', () => {
  test('starts a fresh server for the main run and for the control run, and the verdict has all figures', async () => {
    const { beside, args } = await swarm(SERVE)
    const out = directory()
    const { code, stdout, stderr } = await run(['bench', ...args, ...PLAN, '--out', out, '--name', 'it', '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/beside records port \d+$/m) })
    const [verdict] = JSON.parse(stdout).verdicts
    expect(verdict).toMatchObject({ name: 'it', failed: 0, lost: 0 })
    expect(verdict.need).toBeGreaterThan(0)
    expect(verdict.retention).toBeGreaterThan(0)
    const [main, control] = await Promise.all(
      ['it', 'it.control'].map((name) => readRecording(join(out, `${name}.ndjson`)))
    )
    expect(main).toMatchObject({ complete: true, header: { role: 'main' } })
    expect(control).toMatchObject({ complete: true, header: { role: 'control' } })
    expect(control?.header.pid).not.toBe(main?.header.pid)
    expect(alive(main?.header.pid as number)).toBe(false)
    expect(alive(control?.header.pid as number)).toBe(false)
    expect(beside.stderr.match(/^Started and recording the server on port \d+$/gm)).toHaveLength(2)
    expect(beside.stderr.match(/^Ended the server on port \d+$/gm)).toHaveLength(2)
  })

  test('starts a fresh server for each of several runs', async () => {
    const { args } = await swarm(SERVE)
    const out = directory()
    const { code } = await run(['bench', ...args, ...PLAN, '--small', '0', '--runs', '2', '--out', out, '--name', 'it'])
    expect(code).toBe(0)
    const runs = await Promise.all(['it.1', 'it.2'].map((name) => readRecording(join(out, `${name}.ndjson`))))
    expect(runs.map(({ header }) => header.run)).toEqual([
      { index: 1, of: 2 },
      { index: 2, of: 2 }
    ])
    expect(runs[0]?.header.pid).not.toBe(runs[1]?.header.pid)
  })

  test.each(['coordinator', 'agent', 'NATS'])('the server ends when the %s is killed', async (victim) => {
    const { nats, beside, args } = await swarm(SERVE)
    const bench = ebb(['bench', ...args, ...LONG])
    await bench.said(/holding 60/)
    const started = below(beside, ` serve --port ${beside.port}`)
    expect(started).toHaveLength(1)
    if (victim === 'coordinator') await bench.end('SIGKILL')
    if (victim === 'agent') await beside.end('SIGKILL')
    if (victim === 'NATS') await nats.kill()
    await until(() => !started.some(alive))
  })

  test('Ctrl-C while the server starts ends the run and the server', async () => {
    // A process that the agent has just forked has the command line of the agent, which must not look like this.
    const { beside, args } = await swarm('exec sleep $((2 * 617))')
    const bench = ebb(['bench', ...args, ...PLAN])
    await until(() => below(beside, 'sleep 1234').length > 0)
    const started = below(beside, 'sleep 1234')
    await bench.end('SIGINT')
    await until(() => !started.some(alive))
    await beside.said(/^Free: the run has ended$/m)
  })

  test('the run is told why the server does not start, with its last output', async () => {
    const { args } = await swarm('echo no licence >&2; exit 7')
    const { code, stderr } = await run(['bench', ...args, ...PLAN])
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^ebb: EREMOTE: the agent beside does not record: .* ended before it listened \(exit code 7\)/m
    )
    expect(stderr).toContain('no licence')
  })

  test('a server without enough descriptors is refused before the first connect', async () => {
    const { beside, args } = await swarm(`ulimit -n 256; ${SERVE}`)
    const { code, stderr } = await run(['bench', ...args, ...PLAN, '--big', '300'])
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^ebb: EREMOTE: the agent beside does not record: the server on port \d+ is to hold 300 conn/m
    )
    expect(stderr).toMatch(/may have 256 descriptors open.*raise the limit \(ulimit -n\)$/m)
    expect(below(beside, ' serve --port ')).toEqual([])
  })
})

test.each([
  [['--record-command', ' '], /--record-command is empty: give the command that starts the server/],
  [['--record-command', 'true', '--most', '2'], /--record-command makes no connections: leave out --most/]
])('ebb agent %j is refused', async (args, says) => {
  const { code, stderr } = await run(['agent', '--swarm', 'lab', '--nats', 'nats://127.0.0.1:1', ...args])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(says) })
})
