/** `ebb run`: the supervisor, with programs that report as `handover()` does. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { NotifySocket } from 'ebb/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Cli, type CliOptions, ebb, MAIN, ROOT, run } from './support/cli.js'
import { alive, commandOf, descendants } from './support/processes.js'

/**
 * A program that prints what it gets. Each run does what the next line of the file in `SCRIPT` says:
 *
 * - `ready`: send `READY=1`, and on SIGUSR2 `STOPPING=1`
 * - `mute`: send nothing; `deaf`: ignore SIGTERM; `exit N`: end at once; `hold N`: as `ready`, with N MB of memory
 */
const PROGRAM = `
import fs from 'node:fs'
import { notify } from 'ebb/testing'
const { SCRIPT, EBB_PROC, EBB_PROCS, EBB_HANDOVER, NOTIFY_SOCKET } = process.env
const [line = 'ready', ...rest] = fs.readFileSync(SCRIPT, 'utf8').split('\\n')
if (rest.length > 0) fs.writeFileSync(SCRIPT, rest.join('\\n'))
const [what, value] = line.split(' ')
const say = (event, more = {}) => fs.writeSync(1, JSON.stringify({ pid: process.pid, event, ...more }) + '\\n')
for (const signal of ['SIGTERM', 'SIGINT', 'SIGUSR2', 'SIGHUP', 'SIGWINCH', 'SIGUSR1']) process.on(signal, () => {
  say(signal)
  if (signal === 'SIGTERM' && what !== 'deaf') process.exit(Number(process.env.CODE ?? 0))
  if (signal === 'SIGUSR2' && what !== 'mute') notify('STOPPING=1')
})
setInterval(() => {}, 1000)
say('started', { what, proc: EBB_PROC, procs: EBB_PROCS, path: EBB_HANDOVER, socket: NOTIFY_SOCKET })
if (what === 'exit') process.exit(Number(value))
if (what === 'hold') globalThis.held = Buffer.alloc(Number(value) * 1e6, 1)
if (what === 'noise') for (const text of ['READY=2', 'MAINPID=-1', 'MAINPID=0', '', '=', 'X'.repeat(9000)]) notify(text)
if (what !== 'mute' && what !== 'noise') notify('READY=1')
`
const NODE = [process.execPath, '--input-type=module', '--eval', PROGRAM]

interface Line {
  pid: number
  event: string
  what?: string
  proc?: string
  procs?: string
  path?: string
  socket?: string
}

class Run {
  readonly cli: Cli
  readonly script: string

  constructor(
    options: string[],
    script: string[],
    { command = NODE, ...cli }: CliOptions & { command?: string[] } = {}
  ) {
    const folder = temporary()
    this.script = join(folder, 'script')
    writeFileSync(this.script, script.join('\n'))
    this.cli = ebb(['run', ...options, '--', ...command], { ...cli, env: { SCRIPT: this.script, ...cli.env } })
  }

  get lines(): Line[] {
    return this.cli.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line)
  }

  /** Waits until a program has printed `event` for the `n`th time, and returns that line. */
  async event(event: string, n = 1): Promise<Line> {
    await this.cli.said(new RegExp(`(?:"event":"${event}"[\\s\\S]*?\\n[\\s\\S]*?){${n}}`))
    return this.lines.filter((line) => line.event === event)[n - 1] as Line
  }

  /** Waits for a line of the log of `ebb run`. */
  log(pattern: RegExp): Promise<RegExpExecArray> {
    return this.cli.said(new RegExp(`^ebb run: ${pattern.source}`, 'm'))
  }

  /** Waits until the `n`th process has sent READY=1. */
  async ready(n = 1): Promise<Line> {
    await this.cli.said(
      new RegExp(`(?:ebb run: process \\d+ (?:is ready|has taken over)[\\s\\S]*?\\n[\\s\\S]*?){${n}}`)
    )
    return this.event('started', n)
  }
}

function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ebb-run-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Polls a condition that no event announces. */
async function settled(ready: () => boolean): Promise<void> {
  while (!ready()) await wait(10)
}

/** A stand-in for systemd. */
function systemd(): { path: string; sent: Record<string, string>[]; until: (ready: () => boolean) => Promise<void> } {
  const sent: Record<string, string>[] = []
  let wake = (): void => {}
  const socket = new NotifySocket(join(temporary(), 'notify'), (fields) => {
    sent.push(Object.fromEntries(fields))
    wake()
  })
  onTestFinished(() => socket.close())
  const until = async (ready: () => boolean): Promise<void> => {
    while (!ready()) await new Promise<void>((resolve) => (wake = resolve))
  }
  return { path: socket.path, sent, until }
}

describe('restarts', () => {
  test('a program that crashes is restarted: at once, then after longer and longer times', async () => {
    const running = new Run([], ['exit 3', 'exit 3', 'exit 3', 'ready'])
    const { cli } = running
    await running.event('started', 4)
    const log = cli.stderr.replace(/process \d+/g, 'process N').replace(/after \S+ s/g, 'after T')
    expect(cli.stderr).toContain(`ebb run: the supervisor is process ${cli.pid}\n`)
    expect(log.split('\n').slice(0, 8)).toEqual([
      'ebb run: the supervisor is process N',
      'ebb run: started process N',
      'ebb run: process N ended with exit code 3 after T; restarting at once',
      'ebb run: started process N',
      'ebb run: process N ended with exit code 3 after T; restarting in 0.1 s',
      'ebb run: started process N',
      'ebb run: process N ended with exit code 3 after T; restarting in 0.2 s',
      'ebb run: started process N'
    ])
    expect((await cli.end('SIGTERM')).code).toBe(0)
  })

  test('a program that is killed is restarted', async () => {
    const running = new Run([], [])
    const { pid } = await running.event('started')
    process.kill(pid, 'SIGKILL')
    await running.log(new RegExp(`process ${pid} was ended by SIGKILL after .* restarting at once`))
    expect((await running.event('started', 2)).pid).not.toBe(pid)
  })

  test('a program that ends with code 0 is not restarted', async () => {
    expect(await new Run([], ['exit 0']).cli.ended).toMatchObject({ code: 0, signal: null })
  })

  test('gives up after --max-restarts, with the exit code of the program', async () => {
    const { cli } = new Run(['--max-restarts', '2'], ['exit 5', 'exit 6', 'exit 7', 'ready'])
    const { code, stderr } = await cli.ended
    expect(code).toBe(7)
    expect(stderr).toMatch(/ERR_EBB_RUN_RESTARTS: giving up after 2 restarts in a row: see what the program printed/)
  })

  test('a command that cannot be run ends it with the code of a shell', async () => {
    const missing = await run(['run', '--', '/nowhere/at all'])
    expect(missing).toMatchObject({
      code: 127,
      stderr: 'ebb run: ERR_EBB_RUN_COMMAND: the command cannot be run: spawn /nowhere/at all ENOENT\n'
    })
    expect(await run(['run', '--', '/etc/passwd'])).toMatchObject({ code: 126 })
  })
})

describe('ends', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s is passed on once, and the exit code is that of the program',
    async (signal) => {
      const running = new Run([], [], { env: { CODE: '7' } })
      const { pid } = await running.event('started')
      running.cli.kill(signal)
      await running.event(signal)
      // The program does not end by SIGINT.
      if (signal === 'SIGINT') process.kill(pid, 'SIGTERM')
      expect((await running.cli.ended).code).toBe(7)
      expect(running.lines.filter(({ event }) => event === signal)).toHaveLength(1)
    }
  )

  test('a program without a handler ends by the signal, and so does ebb run', async () => {
    const cli = ebb(['run', '--', 'sleep', '1000'])
    await cli.said(/started process \d+\n/)
    expect(await cli.end('SIGTERM')).toMatchObject({ code: null, signal: 'SIGTERM' })
  })

  test('a program that does not end is killed after --kill-after, or at the second signal', async () => {
    const patient = new Run(['--kill-after', '200ms'], ['deaf'])
    const { pid } = await patient.event('started')
    await patient.cli.end('SIGTERM')
    expect(patient.cli.stderr).toContain(`process ${pid} did not end within 0.2 s: killing it`)
    expect(alive(pid)).toBe(false)

    const hurried = new Run(['--kill-after', '1h'], ['deaf'])
    await hurried.event('started')
    hurried.cli.kill('SIGTERM')
    await hurried.event('SIGTERM')
    expect(await hurried.cli.end('SIGTERM')).toMatchObject({ code: 137 })
  })

  test('other signals are passed on, SIGHUP too without --handover', async () => {
    const running = new Run([], ['mute'])
    await running.event('started')
    for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const) {
      running.cli.kill(signal)
      await running.event(signal)
    }
    await running.cli.end('SIGTERM')
  })

  test('removes its folder, and leaves no process', async () => {
    const running = new Run(['--procs', '3', '--handover'], [])
    await running.ready(3)
    const folder = join(running.lines[0]?.socket as string, '..')
    const below = descendants(running.cli.pid)
    expect(running.lines.map(({ proc }) => proc).sort()).toEqual(['1', '2', '3'])
    expect(running.lines.every(({ procs }) => procs === '3')).toBe(true)
    expect(new Set(running.lines.map(({ path }) => path)).size).toBe(3)
    expect(existsSync(folder)).toBe(true)
    await running.cli.end('SIGTERM')
    expect(existsSync(folder)).toBe(false)
    // The guard was killed a moment ago.
    await settled(() => !below.some(alive))
  })

  test.each([
    { script: 'ready', options: [] },
    { script: 'deaf', options: ['--kill-after', '300ms'] }
  ])('leaves no process and no folder when it is killed itself: $script', async ({ script, options }) => {
    const running = new Run([...options, '--procs', '2'], [script, script])
    await running.event('started', 2)
    const folder = join(running.lines[0]?.socket as string, '..')
    const below = descendants(running.cli.pid)
    expect(below.some((pid) => commandOf(pid).includes('ebb-guard'))).toBe(true)
    await running.cli.end('SIGKILL')
    await settled(() => !below.some(alive) && !existsSync(folder))
  })

  test('ends what a shell has left', async () => {
    const script = `${NODE.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')} & wait`
    const running = new Run([], ['ready', 'ready'], { command: ['sh', '-c', script] })
    const { pid } = await running.event('started')
    const [shell = 0] = descendants(running.cli.pid).filter((one) => commandOf(one).startsWith('sh -c'))
    process.kill(shell, 'SIGKILL')
    await running.event('started', 2)
    await settled(() => !alive(pid))
  })
})

describe('--handover', () => {
  test('SIGHUP: the successor takes over, and the process before it is ended when it has handed over', async () => {
    const running = new Run(['--handover'], [])
    const old = await running.ready()
    running.cli.kill('SIGHUP')
    const successor = await running.ready(2)
    expect(successor.path).toBe(old.path)
    expect(successor.socket).not.toBe(old.socket)
    expect(alive(old.pid)).toBe(true)
    process.kill(old.pid, 'SIGUSR2')
    await running.event('SIGTERM')
    await running.log(new RegExp(`process ${old.pid} has ended after its handover`))
    expect(alive(successor.pid)).toBe(true)
    expect(running.lines.filter(({ event }) => event === 'SIGHUP')).toEqual([])
    await running.cli.end('SIGTERM')
    expect(existsSync(old.socket as string)).toBe(false)
  })

  test('a process that does not say when it has handed over is ended after --grace', async () => {
    const running = new Run(['--handover', '--grace', '200ms'], [])
    const old = await running.ready()
    running.cli.kill('SIGHUP')
    await running.ready(2)
    expect((await running.event('SIGTERM')).pid).toBe(old.pid)
  })

  test.each([
    { script: 'exit 3', says: 'ended with exit code 3 before it was ready', options: [] },
    { script: 'mute', says: 'was not ready within 0.3 s and is killed', options: ['--ready-timeout', '300ms'] },
    { script: 'noise', says: 'was not ready within 0.3 s and is killed', options: ['--ready-timeout', '300ms'] }
  ])('a successor that fails ($script): the process before it serves on', async ({ script, says, options }) => {
    const running = new Run(['--handover', ...options], ['ready', script, 'ready'])
    const old = await running.ready()
    running.cli.kill('SIGHUP')
    const text = `ERR_EBB_RUN_SUCCESSOR: process (\\d+) ${says}.*; process ${old.pid} serves on`
    // It may have been killed before it printed anything.
    const [, failed] = await running.log(new RegExp(text))
    await settled(() => !alive(Number(failed)))
    expect(alive(old.pid)).toBe(true)
    // With a short time to be ready, the next one might fail as well.
    if (options.length > 0) return
    running.cli.kill('SIGHUP')
    await running.ready(2)
  })

  test('the process before it dies during the handover: the successor takes its place', async () => {
    const running = new Run(['--handover'], ['ready', 'mute'])
    const old = await running.ready()
    running.cli.kill('SIGHUP')
    const successor = await running.event('started', 2)
    process.kill(old.pid, 'SIGKILL')
    await running.log(
      new RegExp(`process ${old.pid} .* before it had handed over; process ${successor.pid} takes its place`)
    )
    expect((await running.cli.end('SIGTERM')).code).toBe(0)
    expect(running.lines.filter(({ event }) => event === 'started')).toHaveLength(2)
  })

  test('a process that is not ready yet is restarted', async () => {
    const running = new Run(['--handover'], ['mute', 'ready'])
    const first = await running.event('started')
    running.cli.kill('SIGHUP')
    await running.log(new RegExp(`process ${first.pid} is not ready, so it is restarted`))
    await running.ready()
    expect(alive(first.pid)).toBe(false)
  })

  test('--procs: one after the other; a second SIGHUP meanwhile starts another round', async () => {
    const running = new Run(['--handover', '--procs', '2', '--grace', '10ms'], [])
    await running.ready(2)
    running.cli.kill('SIGHUP')
    await running.event('started', 3)
    running.cli.kill('SIGHUP')
    await running.log(/SIGHUP: the processes are replaced again/)
    await running.ready(6)
    const rounds = running.lines.filter(({ event }) => event === 'started').slice(2)
    expect(rounds.map(({ proc }) => proc)).toEqual(['1', '2', '1', '2'])
    await running.cli.end('SIGTERM')
  })

  test('--dir: another ebb run may take over; the process that has handed over is not restarted', async () => {
    const dir = join(temporary(), 'sockets')
    const first = new Run(['--handover', '--dir', dir], [])
    const { pid, path } = await first.ready()
    const second = new Run(['--handover', '--dir', dir], [])
    expect((await second.ready()).path).toBe(path)
    process.kill(pid, 'SIGUSR2')
    expect((await first.cli.ended).code).toBe(0)
    await second.cli.end('SIGTERM')
    expect(readdirSync(dir)).toEqual([])
  })

  test('--max-memory: a fresh process takes over from one that always holds more', async () => {
    const options = ['--handover', '--max-memory', '200MB', '--memory-window', '600ms', '--grace', '10ms']
    const running = new Run(options, ['hold 300', 'ready'])
    const old = await running.ready()
    await running.log(
      new RegExp(
        `process ${old.pid} has not held less than \\d+(\\.\\d)? MB of memory for 0.6 s \\(--max-memory 200 MB\\)`
      )
    )
    await running.ready(2)
    await settled(() => !alive(old.pid))
    await running.cli.end('SIGTERM')
    expect(running.lines.filter(({ event }) => event === 'started')).toHaveLength(2)
  })
})

describe('systemd', () => {
  test('READY=1 when all are ready, RELOADING=1 and READY=1 around a handover, STOPPING=1', async () => {
    const { path, sent, until } = systemd()
    const running = new Run(['--handover', '--procs', '2'], [], { env: { NOTIFY_SOCKET: path } })
    await running.ready(2)
    await until(() => sent.length === 1)
    const ready = { READY: '1', MAINPID: String(running.cli.pid) }
    expect(sent).toEqual([ready])
    const before = process.hrtime.bigint() / 1000n
    running.cli.kill('SIGHUP')
    await until(() => sent.some(({ RELOADING }) => RELOADING === '1'))
    const after = process.hrtime.bigint() / 1000n
    const at = BigInt(sent[1]?.MONOTONIC_USEC ?? -1)
    expect(at >= before && at <= after).toBe(true)
    await running.ready(4)
    await until(() => sent.length === 4)
    expect(sent.slice(2)).toEqual([{ STATUS: 'Handed over' }, ready])
    await running.cli.end('SIGTERM')
    await until(() => sent.length === 5)
    expect(sent[4]).toEqual({ STOPPING: '1' })
  })

  test('READY=1 ends the reload also when the successor has failed', async () => {
    const { path, sent, until } = systemd()
    const running = new Run(['--handover'], ['ready', 'exit 1'], { env: { NOTIFY_SOCKET: path } })
    await running.ready()
    running.cli.kill('SIGHUP')
    await until(() => sent.length === 4)
    expect(sent.slice(2)).toEqual([
      { STATUS: '1 handovers failed: see the log' },
      { READY: '1', MAINPID: String(running.cli.pid) }
    ])
  })

  test('passes sockets on, so that no client is refused while the program is restarted', async () => {
    const listening = createServer().listen(0, '127.0.0.1')
    await once(listening, 'listening')
    const { port } = listening.address() as AddressInfo
    const { fd } = (listening as unknown as { _handle: { fd: number } })._handle
    const source = `
      const { LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID } = process.env
      require('node:net').createServer((socket) => {
        socket.end([process.pid, LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID].join())
      }).listen({ fd: 3 })`
    // As systemd does: the variables are about the process that gets them.
    const script = 'export LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID=$$; exec "$@"'
    const command = [process.execPath, MAIN, 'run', '--', process.execPath, '-e', source]
    const child = spawn('sh', ['-c', script, 'sh', ...command], { stdio: ['ignore', 'ignore', 'ignore', fd] })
    onTestFinished(async () => {
      child.kill('SIGTERM')
      await once(child, 'exit')
    })
    // The program alone accepts from now on.
    listening.close()
    const answer = async (): Promise<string[]> => {
      const socket = connect(port, '127.0.0.1').setEncoding('utf8')
      const [text] = (await once(socket, 'data')) as [string]
      return text.split(',')
    }
    const [pid = '', ...variables] = await answer()
    expect(variables).toEqual(['1', 'web', ''])
    process.kill(Number(pid), 'SIGKILL')
    expect((await answer())[0]).not.toBe(pid)
  })

  const noVerify = spawnSync('systemd-analyze', ['--version']).error === undefined ? undefined : 'no systemd-analyze'

  test.skipIf(noVerify !== undefined)('systemd-analyze verify finds no fault in the units', () => {
    const folder = temporary()
    for (const name of ['app.service', 'app.socket']) {
      const text = readFileSync(join(ROOT, 'examples/systemd', name), 'utf8')
      writeFileSync(join(folder, name), text.replace('/usr/bin/node', process.execPath).replace('/srv/app', ROOT))
    }
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', join(folder, 'app.service')], {
      encoding: 'utf8',
      env: { ...process.env, SYSTEMD_UNIT_PATH: `${folder}:` }
    })
    // Keys of newer versions, and what is wrong with the units of the machine, are not faults of these.
    const faults = stderr.split('\n').filter((line) => line.includes('app.') && !line.includes('Unknown key'))
    expect({ faults, status }).toEqual({ faults: [], status: 0 })
  })

  test('without a handover, it is ready when the processes are started', async () => {
    const { path, sent, until } = systemd()
    const running = new Run([], ['mute'], { env: { NOTIFY_SOCKET: path } })
    await until(() => sent.length === 1)
    await running.event('started')
    expect(running.lines[0]?.socket).not.toBe(path)
  })

  test('the watchdog hears of it', async () => {
    const { path, sent, until } = systemd()
    const env = { NOTIFY_SOCKET: path, WATCHDOG_USEC: '200000' }
    const running = new Run([], ['mute'], { env })
    await until(() => sent.filter(({ WATCHDOG }) => WATCHDOG === '1').length >= 3)
    await running.event('started')
    expect(readFileSync(`/proc/${running.lines[0]?.pid}/environ`, 'latin1')).not.toContain('WATCHDOG_USEC')
  })

  test.each(['/nowhere/notify', 'vsock:2:1'])('a socket that cannot be reached (%s) is reported once', async (path) => {
    const running = new Run(['--handover'], [], { env: { NOTIFY_SOCKET: path } })
    await running.ready()
    await running.cli.end('SIGTERM')
    expect(running.cli.stderr.match(/ERR_EBB_RUN_NOTIFY: systemd is not told of the state/g)).toHaveLength(1)
  })
})

test('bad input ends it with one sentence and code 1; --help and --version print', async () => {
  expect(await run(['run', '--hanover', '--', 'x'])).toMatchObject({
    code: 1,
    stdout: '',
    stderr: 'ebb run: unknown option "--hanover": did you mean --handover?\n'
  })
  expect(await run(['run'])).toMatchObject({ code: 1, stderr: expect.stringContaining('needs a command') })
  const help = await run(['run', '--help'])
  expect(help).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^Usage: ebb run \[options\]/) })
  expect(await run(['help', 'run'])).toEqual(help)
  // The library's own `ebb`.
  const command = `exec "${process.execPath}" packages/ebb/bin/ebb.js run --help > /dev/full`
  const unprinted = spawnSync('sh', ['-c', command], { cwd: ROOT, encoding: 'utf8' })
  expect(unprinted).toMatchObject({ status: 1, stderr: 'ebb run: ENOSPC: no space left on device, write\n' })
  expect((await run(['run', '--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})
