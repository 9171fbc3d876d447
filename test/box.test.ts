/** `ebb box`: real servers, some of them bad, under real loads of a few connections. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Cli, ebb, MAIN, ROOT, run } from './support/cli.js'
import { alive, commandOf, descendants } from './support/processes.js'
import { directory, until } from './support/sockets.js'

const NODE = process.execPath
const PLAIN = `import net from 'node:net'
net.createServer((socket) => socket.on('error', () => {}).resume()).listen(Number(process.argv[2]), '127.0.0.1')`

/** A folder with a box, and the programs of its servers. */
function box(text: string, programs: Record<string, string> = {}): { file: string; folder: string } {
  const folder = directory()
  for (const [name, source] of Object.entries({ 'plain.mjs': PLAIN, ...programs }))
    writeFileSync(join(folder, name), source)
  const file = join(folder, 'box.yaml')
  writeFileSync(file, text)
  return { file, folder }
}

/** The whole lines of a recording. */
function recordingOf(folder: string): { type: string; t: number; event?: string; server?: number }[] {
  const lines = readFileSync(join(folder, 'box.ndjson'), 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line))
}

const PULSES = 'big: 200, iterations: 1, small: 20, pulses: 1, linger: 500ms, bigSeparation: 500ms, smallSeparation: 0'

interface Json {
  boxes: {
    name: string
    peakOfSums: number
    sumOfPeaks: number
    gain: number
    rest: number
    failures: number
    fit: { servers: number; more: number } | null
    servers: {
      name: string
      state: string
      fate: string | null
      peak: number | null
      verdict: Record<string, unknown> & { missing: string[]; connects: number; giveBacks: number | null }
    }[]
  }[]
  files: string[]
}

describe('a box', () => {
  test('runs good servers beside one that dies, one that never listens and one that floods its log; ebb report prints the same', async () => {
    const { file, folder } = box(
      `
rest: 500ms
memory: 8GB
servers:
  - { name: plain, command: ['${NODE}', plain.mjs, '{port}'], plan: { ${PULSES} } }
  - { name: parked, command: ['${NODE}', '${MAIN}', serve, --port, '{port}'], plan: { ${PULSES}, offset: 300ms } }
  - { name: mortal, command: "'${NODE}' mortal.mjs {port}", plan: { shape: steady, connections: 50 } }
  - { name: mute, command: [sleep, '100'], startWithin: 1s, plan: { shape: steady, connections: 5 } }
  - { name: loud, command: ['${NODE}', loud.mjs, '{port}'], plan: { shape: sawtooth, high: 40, period: 1s } }`,
      {
        'mortal.mjs': `import net from 'node:net'
          let clients = 0
          net.createServer((socket) => {
            socket.on('error', () => {}).resume()
            if (++clients === 50) setTimeout(() => process.exit(7), 200)
          }).listen(Number(process.argv[2]), '127.0.0.1')`,
        'loud.mjs': `${PLAIN}\nconst text = ('x'.repeat(99) + '\\n').repeat(1000)
          const more = () => process.stdout.write(text, more)\nmore()`
      }
    )
    const out = join(folder, 'out')
    const { code, stdout, stderr } = await run(['box', file, '--out', out])
    expect({ code, stderr: code === 2 ? '' : stderr }).toEqual({ code: 2, stderr: '' })
    expect(readdirSync(out).sort()).toEqual(['box.html', 'box.ndjson', 'box.svg'])
    const [table = ''] = stdout.split('\n\nWritten')
    expect(table.split('\n').filter((line) => line.length > 80)).toEqual([])
    expect(stdout).toMatch(/^mortal .* ended \[/m)
    expect(stdout).toMatch(/^mute +- .*not up \[/m)
    expect(stdout).toMatch(/sleep 100 did not listen on a TCP port within 1 s/)
    expect(stdout).toMatch(/It prints too many lines per second/)
    expect(stderr).toMatch(/mortal: ended \(exit code 7\)/)

    const again = join(folder, 'again')
    const report = await run(['report', join(out, 'box.ndjson'), '--out', again])
    expect(report.stdout.split('\n\nWritten')[0]).toBe(stdout.split('\n\nWritten')[0])
    for (const name of ['box.svg', 'box.html'])
      expect(readFileSync(join(again, name))).toEqual(readFileSync(join(out, name)))

    const { stdout: json } = await run([
      'report',
      join(out, 'box.ndjson'),
      '--out',
      again,
      '--json',
      '--memory',
      '16GB'
    ])
    const [verdict] = (JSON.parse(json) as Json).boxes
    const of = (name: string) => verdict?.servers.find((server) => server.name === name)
    expect(verdict?.servers.map(({ state }) => state)).toEqual(['ran', 'ran', 'ended', 'failed', 'ran'])
    for (const name of ['plain', 'parked']) {
      expect(of(name)?.verdict).toMatchObject({ connects: 220, failed: 0, lost: 0, big: 200, small: 20 })
      expect(of(name)?.verdict.need).toBeGreaterThan(0)
      expect(of(name)?.verdict.retention).toBeGreaterThan(0)
    }
    expect(of('loud')?.verdict.connects).toBeGreaterThanOrEqual(40)
    expect(of('mute')?.verdict).toBe(null)
    // The sum of peaks at different times is above the peak of all servers together.
    expect(verdict?.gain).toBeGreaterThanOrEqual(1)
    expect(verdict?.sumOfPeaks).toBe(verdict?.servers.reduce((sum, { peak }) => sum + (peak ?? 0), 0))
    expect(verdict?.rest).toBeLessThanOrEqual(verdict?.peakOfSums ?? 0)
    expect(verdict?.fit?.servers).toBe(Math.floor((16e9 * 4) / (verdict?.peakOfSums ?? 1)))
    // A flood of lines does not fill the recording.
    expect(readFileSync(join(out, 'box.ndjson')).length).toBeLessThan(4e6)
  })

  test('variants have the same loads, governed or not, for every kind of plan', async () => {
    const { file, folder } = box(
      `
rest: 300ms
seed: 5
variants: { without: {}, with: { governed: true } }
servers:
  - { name: spiky, command: "'${NODE}' plain.mjs {port}", count: 2, stagger: 700ms, plan: { ${PULSES}, jitter: 100ms } }
  - { name: random, command: ['${NODE}', plain.mjs, '{port}'], plan: { shape: poisson, rate: 50, hold: 500ms } }
  - { name: traced, command: ['${NODE}', plain.mjs, '{port}'], plan: { trace: trace.csv }, connect: { payload: hello, close: rst } }`,
      { 'trace.csv': 'time,connections\n0,5\n0.5,30\n1,10\n1.5,0\n' }
    )
    const { code, stdout, stderr } = await run(['box', file, '--json', '--no-control'])
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
    const { boxes } = JSON.parse(stdout) as Json
    expect(boxes.map(({ name }) => name)).toEqual(['without', 'with'])
    const [without, governed] = boxes
    const connects = (of: typeof without) => of?.servers.slice(0, 2).map(({ verdict }) => verdict.connects)
    expect(connects(without)).toEqual([220, 220])
    expect(connects(governed)).toEqual([220, 220])
    expect(without?.servers.map(({ name }) => name)).toEqual(['spiky 1', 'spiky 2', 'random', 'traced'])
    expect(without?.servers[3]?.verdict.connects).toBeGreaterThanOrEqual(25)
    for (const { servers } of boxes) expect(servers.every(({ state }) => state === 'ran')).toBe(true)
    const one = await run(['box', join(folder, 'box.yaml'), '--variant', 'with', '--dry-run'])
    expect(one.stdout).toMatch(
      /^box: 4 servers, .* a run\n {2}spiky 1 {2}pulses of 200, then 20\n {2}spiky 2 .* from 0\.7 s on/
    )
  })

  test('governed: true loads the governor, whatever the working directory, and only for that server', async () => {
    const program = `${PLAIN}\nconsole.log(process.env.NODE_OPTIONS ?? 'none')
      const key = Symbol.for('ebb.governing.1')\nconsole.log('governed ' + (globalThis[key] !== undefined))`
    const text = (governed: boolean): string =>
      `rest: 200ms\nservers:\n  - { command: ['${NODE}', told.mjs, '{port}'], governed: ${governed}, env: { NODE_OPTIONS: --no-deprecation }, plan: { ${PULSES} } }`
    for (const governed of [true, false]) {
      const { file, folder } = box(text(governed), { 'told.mjs': program })
      expect((await run(['box', file, '--no-control', '--out', folder], { cwd: '/' })).code).toBe(0)
      const recording = readFileSync(join(folder, 'box.ndjson'), 'utf8')
      expect(recording).toContain(`"text":"governed ${governed}"`)
      expect(recording).toContain('--no-deprecation')
    }
    const shell = box(`rest: 200ms\nservers:\n  - { command: ['${NODE}', plain.mjs, '{port}'], plan: { ${PULSES} } }`)
    const other = await run(['box', shell.file, '--no-control', '--json'], { env: { PATH: '' } })
    expect(other.code).toBe(0)
  })

  test('reports a server that dies behind a shell that lives on, and workers that listen later', async () => {
    const { file, folder } = box(
      `
rest: 4s
memory: 8GB
servers:
  - { name: behind, command: "'${NODE}' mortal.mjs {port}; exec sleep 60", plan: { shape: steady, connections: 20, duration: 1s } }
  - { name: several, command: ['${NODE}', several.mjs, '{port}'], plan: { shape: steady, connections: 5, duration: 1s } }`,
      {
        'mortal.mjs': `import net from 'node:net'
          let clients = 0
          net.createServer((socket) => {
            socket.on('error', () => {}).resume()
            if (++clients === 20) process.exit(0)
          }).listen(Number(process.argv[2]), '127.0.0.1')`,
        // A child process has the same listening socket, after ebb has found the server and before its rest is over.
        'several.mjs': `import { spawn } from 'node:child_process'
          import net from 'node:net'
          const server = net.createServer((socket) => socket.on('error', () => {}).resume())
          server.listen(Number(process.argv[2]), '127.0.0.1', () => setTimeout(() => {
            spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', server._handle.fd] })
          }, 2000))`
      }
    )
    const { code, stdout } = await run(['box', file, '--no-control', '--out', folder])
    expect(code).toBe(2)
    expect(stdout).toMatch(/^behind .* ended \[/m)
    expect(stdout).toMatch(/1 of 2 listening servers ended early/)
    // How the server ended is unknown as long as its shell lives, but its memory is gone.
    const { boxes } = JSON.parse(
      (await run(['report', join(folder, 'box.ndjson'), '--out', folder, '--json'])).stdout
    ) as Json
    expect(boxes[0]?.servers.map(({ state }) => state)).toEqual(['ended', 'ran'])
    expect(boxes[0]?.servers[1]?.verdict.missing.join()).toMatch(
      /The figures cover one process only: 2 processes listen on port \d+: \d+, \d+; start the server with one worker(,|$)/
    )
    const lines = recordingOf(folder)
    const [last] = lines.filter(({ type, server }) => type === 'sample' && server === 0).slice(-1)
    const fate = boxes[0]?.servers[0]?.fate ?? ''
    const [, after] = /^It ended after (\d+\.\d) s\.$/.exec(fate) ?? []
    expect(Number(after) * 1000 - (last?.t ?? 0)).toBeLessThan(1000)
  })

  test('missing answers are counted as failures, by ebb report as well', async () => {
    const plan = `plan: { shape: steady, connections: 7, duration: 500ms }`
    const { file, folder } = box(
      `rest: 200ms\nservers:\n  - { command: ['${NODE}', plain.mjs, '{port}'], ${plan}, connect: { payload: hi, expectEcho: true, timeout: 300ms } }`
    )
    const { code, stdout } = await run(['box', file, '--no-control', '--out', folder])
    expect(code).toBe(2)
    expect(stdout).toMatch(/^\[\d\] 7 answers did not arrive\.$/m)
    const report = await run(['report', join(folder, 'box.ndjson'), '--out', folder, '--json'])
    expect((JSON.parse(report.stdout) as Json).boxes[0]?.failures).toBe(7)
  })

  test('client processes start before the run begins, so that no pulse waits for them', async () => {
    const { file, folder } = box(
      `rest: 3s\nduration: 1s\nservers:\n  - { command: ['${NODE}', plain.mjs, '{port}'], count: 2, plan: { shape: steady, connections: 5 } }`
    )
    const cli = ebb(['box', file, '--no-control', '--out', folder])
    const clients = () => descendants(cli.pid).filter((pid) => commandOf(pid).includes('pulse/worker.js')).length
    await until(() => clients() === 2)
    const seen = recordingOf(folder)
    expect((await cli.ended).code).toBe(0)
    const loads = recordingOf(folder).filter(({ event }) => event === 'level')
    // The clients have started before the rest, together with the servers.
    expect((loads[0]?.t ?? 0) - (seen.at(-1)?.t ?? 0)).toBeGreaterThan(1500)
  })

  test('exits 3 if a limit is exceeded', async () => {
    const { file } = box(
      `rest: 200ms\nservers:\n  - { command: ['${NODE}', plain.mjs, '{port}'], plan: { ${PULSES} } }`
    )
    const { code, stdout, stderr } = await run(['box', file, '--no-control', '--max-peak', '1MB', '--json'])
    expect(code).toBe(3)
    expect(stderr).toMatch(/^limit broken: box: the peak of sums is \d+\.\d MB, the limit is 1\.0 MB\.$/m)
    expect(JSON.parse(stdout).broken).toHaveLength(1)
  })
})

describe('a box that is stopped', () => {
  const ENDLESS = `rest: 200ms
duration: 10m
servers:
  - { name: a, command: "'${NODE}' plain.mjs {port} & wait", plan: { shape: steady, connections: 50 } }
  - { name: b, command: ['${NODE}', plain.mjs, '{port}'], plan: { shape: steady, connections: 50 } }`

  async function running(out: string, folder: string, args: string[] = []): Promise<{ cli: Cli; started: number[] }> {
    const cli = ebb(['box', join(folder, 'box.yaml'), '--no-control', '--out', out, ...args])
    await cli.said(/ a: process \d+/)
    await cli.said(/ b: process \d+/)
    await until(() => recorded(out).split('"event":"level"').length > 2)
    const started = descendants(cli.pid)
    // Two servers, the shell of one of them, two client processes, and the reaper.
    expect(started.length).toBeGreaterThanOrEqual(6)
    return { cli, started }
  }

  const recorded = (out: string): string =>
    existsSync(join(out, 'box.ndjson')) ? readFileSync(join(out, 'box.ndjson'), 'utf8') : ''

  test.each(['SIGINT', 'SIGTERM'] as const)('%s leaves no process and a readable recording', async (signal) => {
    const { folder } = box(ENDLESS)
    const out = join(folder, 'out')
    const { cli, started } = await running(out, folder)
    expect(await cli.end(signal)).toMatchObject({ code: 130, stdout: '' })
    await until(() => started.filter(alive).length === 0)
    const { code, stdout } = await run(['report', join(out, 'box.ndjson'), '--out', out])
    expect(code).toBe(0)
    expect(stdout).toMatch(/The run was stopped before its end/)
  })

  test('SIGKILL leaves no process either', async () => {
    const { folder } = box(ENDLESS)
    const out = join(folder, 'out')
    const { cli, started } = await running(out, folder)
    await cli.end('SIGKILL')
    await until(() => started.filter(alive).length === 0)
    const { code, stdout } = await run(['report', join(out, 'box.ndjson'), '--out', out])
    expect(code).toBe(0)
    expect(stdout).toMatch(/The recording was cut off/)
  })

  test('a signal while it asks a server for its version leaves no process', async () => {
    const { file, folder } = box(
      `rest: 200ms\nduration: 10m\nservers:\n  - { name: other, command: [./node, plain.mjs, '{port}'], plan: { shape: steady, connections: 5 } }
  - { name: mute, command: [sleep, '100'], plan: { shape: steady, connections: 5 } }`
    )
    // A copy of Node is another program, so its version is asked for.
    copyFileSync(NODE, join(folder, 'node'))
    const cli = ebb(['box', file, '--no-control'])
    let asked: number | undefined
    await until(() => {
      asked = descendants(cli.pid).find((pid) => commandOf(pid).includes('--version'))
      return asked !== undefined || cli.stderr.includes('other: process')
    })
    const started = descendants(cli.pid)
    if (asked !== undefined) process.kill(asked, 'SIGSTOP')
    const { code, stderr } = await cli.end('SIGINT')
    expect({ code, last: stderr.trim().split('\n').at(-1) }).toEqual({ code: 130, last: 'interrupted' })
    await until(() => started.filter(alive).length === 0)
  })

  test('if a client process is killed, its connections count as lost and the run continues', async () => {
    const { file } = box(ENDLESS.replace('10m', '3s'))
    const cli = ebb(['box', file, '--no-control', '--json'])
    await cli.said(/ b: process \d+/)
    let victim: number | undefined
    await until(() => {
      victim = descendants(cli.pid).find((pid) => commandOf(pid).includes('pulse/worker.js'))
      return victim !== undefined
    })
    process.kill(victim as number, 'SIGKILL')
    const { code, stdout } = await cli.ended
    expect(code).toBe(2)
    expect((JSON.parse(stdout) as Json).boxes[0]?.failures).toBeGreaterThan(0)
  })
})

const own = /^\d+:(?:.*,)?memory(?:,.*)?:(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1]
const canLimit = (() => {
  if (own === undefined) return false
  const trial = join('/sys/fs/cgroup/memory', own, `ebb-test-${process.pid}`)
  try {
    mkdirSync(trial)
    rmdirSync(trial)
    return true
  } catch {
    return false
  }
})()

describe('with a limit', () => {
  const HUNGRY = `import net from 'node:net'
    const held = []
    net.createServer((socket) => { held.push(Buffer.alloc(2e6, 1)); socket.on('error', () => {}).resume() })
      .listen(Number(process.argv[2]), '127.0.0.1')`
  const text = `
rest: 300ms
servers:
  - { name: modest, command: ['${NODE}', plain.mjs, '{port}'], plan: { ${PULSES} } }
  - { name: hungry, command: ['${NODE}', hungry.mjs, '{port}'], plan: { shape: sawtooth, high: 300, period: 2s, duration: 2s } }`

  test.skipIf(!canLimit)(
    'reports the server that the kernel kills for memory; the others live, and no cgroup is left',
    async () => {
      const { file } = box(text, { 'hungry.mjs': HUNGRY })
      const { code, stdout, stderr } = await run(['box', file, '--no-control', '--limit', '250MB'])
      expect({ code, stderr: code === 2 ? '' : stderr }).toEqual({ code: 2, stderr: '' })
      expect(stdout).toMatch(/^limit +250 MB$/m)
      expect(stdout).toMatch(/^killed for memory +1$/m)
      expect(stdout).toMatch(/^hungry .* killed \[/m)
      expect(stdout).toMatch(/^modest .*MB/m)
      expect(stdout).not.toMatch(/^modest .*(killed|ended)/m)
      expect(stdout).toMatch(/The kernel killed it for memory after \d/)
      expect(stderr).toMatch(/hungry: killed for memory/)
      const group = join('/sys/fs/cgroup/memory', own ?? '')
      expect(readdirSync(group).filter((name) => name.startsWith('ebb-box-'))).toEqual([])
    }
  )

  test('if it may not make a cgroup, it says so in one sentence before it starts anything', async () => {
    const { file, folder } = box(text, { 'hungry.mjs': HUNGRY })
    const { code, stdout, stderr } = await run(['box', file, '--limit', '250MB', '--out', join(folder, 'out')], {
      shell: `cd / && chmod -R a+rX '${folder}' && chmod a+w '${folder}' && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; :`
    })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(
      /^ebb: [A-Z]+: a limit needs a memory cgroup that this user may make: .*; run as root, or under systemd-run/
    )
    expect(stderr.trim().split('\n')).toHaveLength(1)
  })
})

describe('bad input is reported in one sentence, with exit code 1', () => {
  test.each<[string, string, string[], RegExp]>([
    [
      'no such file',
      '',
      ['/no/such/box.yaml'],
      /^ebb: ERR_BOX_INVALID: cannot read \/no\/such\/box\.yaml: no such file or directory \(ENOENT\)$/
    ],
    ['invalid YAML', 'servers: [', [], /^ebb: ERR_BOX_INVALID: .*box\.yaml:1: Flow sequence/],
    [
      'an unknown key',
      'servers:\n  - command: x\n    comand: y\n',
      [],
      /^ebb: ERR_BOX_INVALID: .*box\.yaml:3: servers\[0\]\.comand: unknown key/
    ],
    [
      'an unknown variant',
      'servers: [{ command: x }]',
      ['--variant', 'y'],
      /^ebb: there is no variant "y": the file has box$/
    ],
    [
      'a size without a unit',
      'servers: [{ command: x }]',
      ['--memory', '8'],
      /a size is a number above 0 with its unit/
    ],
    ['a limit of 0', 'servers: [{ command: x }]', ['--limit', '0MB'], /a size is a number above 0 with its unit/],
    [
      'a missing working directory',
      'servers:\n  - { command: x, cwd: nowhere }\n',
      [],
      /^ebb: ERR_BOX_INVALID: .*box\.yaml:2: the working directory of server 1 is not a folder: .*\/nowhere$/
    ],
    ['a run without an end', 'servers: [{ command: x, plan: { pulses: forever } }]', [], /no plan ends by itself/],
    [
      'a directory that cannot be made',
      'servers: [{ command: x }]',
      ['--out', '/proc/nothere'],
      /^ebb: ENOENT: cannot make the directory \/proc\/nothere/
    ]
  ])('%s', async (_, text, args, sentence) => {
    const { file } = box(text)
    const { code, stdout, stderr } = await run(['box', ...(args[0]?.startsWith('/') ? args : [file, ...args])])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr.trim()).toMatch(sentence)
    expect(stderr).not.toMatch(/^\s+at /m)
  })

  test('more connections than the clients can hold: says how many are too many, and starts nothing', async () => {
    const { file } = box('servers:\n  - command: x\n    plan: { big: 60000 }\n')
    const { code, stderr } = await run(['box', file], { shell: 'ulimit -n 256' })
    expect(code).toBe(1)
    // 256 client processes, each with 256 - 64 descriptors for connections.
    expect(stderr).toMatch(
      /^ebb: ERR_BOX_INVALID: .*box\.yaml:3: the plans ask for 60,000 connections; under the descriptor limit of 256 they take 313 processes, 256 at most: 10,848 connections are too many; ask for fewer, or raise the limit \(ulimit -n\)$/m
    )
  })

  test('more connections than the servers can hold: --dry-run and the run say so before they start anything', async () => {
    const { file } = box('servers:\n  - command: x\n    plan: { big: 1000 }\n')
    for (const more of [['--dry-run'], []]) {
      const { code, stdout, stderr } = await run(['box', file, ...more], { shell: 'ulimit -n 600' })
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(stderr).toMatch(
        /^ebb: ERR_BOX_INVALID: .*box\.yaml:3: server 1 is to hold 1,000 connections, and its process may have 600 descriptors open: at least 404 are missing; ask for fewer, or raise the limit \(ulimit -n\)\n$/
      )
    }
  })

  test('more connections than a server can hold: says so as soon as it listens, and leaves no process', async () => {
    const text = `rest: 200ms\nservers:\n  - command: "ulimit -n 128; exec '${NODE}' plain.mjs {port}"\n    plan: { big: 150 }\n`
    const cli = ebb(['box', box(text).file])
    await cli.said(/ server 1: process/)
    const { code, stderr } = await cli.ended
    expect(code).toBe(1)
    const [, open, missing] =
      /box\.yaml:4: server 1 is to hold 150 connections, and its process may have 128 descriptors open, (\d+) of which it needs itself: (\d+) are missing;/.exec(
        stderr
      ) ?? []
    expect(Number(missing)).toBe(150 + Number(open) - 128)
  })

  test('a variant that fails leaves the verdicts and the report of those that have finished', async () => {
    const text = `
rest: 200ms
servers: [{ plan: { ${PULSES} } }]
variants:
  good: { command: ['${NODE}', plain.mjs, '{port}'] }
  bad: { command: "ulimit -n 128; exec '${NODE}' plain.mjs {port}" }`
    const { file, folder } = box(text)
    const { code, stdout, stderr } = await run(['box', file, '--no-control', '--out', folder, '--json'])
    expect(code).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ boxes: [{ name: 'good', failures: 0, missing: [] }] })
    expect(stderr).toMatch(/^ebb: ERR_BOX_INVALID: .*server 1 is to hold 200 connections/m)
    expect(existsSync(join(folder, 'box.html'))).toBe(true)
  })

  test('ebb report: options of boxes are refused for servers alone', async () => {
    const folder = directory()
    writeFileSync(join(folder, 'server'), '{"type":"header"}\n')
    expect((await run(['report', join(folder, 'server'), '--memory', '8GB'])).stderr).toMatch(
      /--memory and --max-peak are for recordings of ebb box/
    )
  })
})

test('--runs runs the box several times, ebb report DIR prints the same, and --overwrite leaves nothing of it', async () => {
  const plan = 'big: 50, iterations: 1, small: 5, pulses: 1, linger: 200ms, bigSeparation: 200ms, smallSeparation: 0'
  const text = `rest: 200ms\nservers: [{ name: plain, command: ['${NODE}', plain.mjs, '{port}'], plan: { ${plan} } }]\n`
  const { file, folder } = box(text)
  const out = join(folder, 'out')
  const recordings = (): string[] => readdirSync(out).filter((name) => name.endsWith('.ndjson'))
  const { code, stdout, stderr } = await run(['box', file, '--no-control', '--runs', '2', '--out', out])
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^ {2}spread +\S/m) })
  expect(stderr).toMatch(/run 1 of 2[\s\S]*run 2 of 2/)
  expect(recordings()).toEqual(['box.1.ndjson', 'box.2.ndjson'])
  const again = await run(['report', out, '--out', join(folder, 'again')])
  expect(again.stdout.split('\n\nWritten')[0]).toBe(stdout.split('\n\nWritten')[0])
  // box.ndjson and the pictures would be free: the earlier recordings alone are in the way.
  for (const name of ['box.html', 'box.svg']) rmSync(join(out, name))
  const refused = await run(['box', file, '--no-control', '--out', out])
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/^ebb: EEXIST: .*box\.1\.ndjson exists/) })
  const single = await run(['box', file, '--no-control', '--out', out, '--overwrite', '--json'])
  expect(JSON.parse(single.stdout)).toMatchObject({ boxes: [{ failures: 0 }] })
  expect(recordings()).toEqual(['box.ndjson'])
})

test('the example in examples/ is a box with three variants', async () => {
  const { code, stdout } = await run(['box', join(ROOT, 'examples/box.yaml'), '--dry-run'])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^box: 4 servers, 40,000 connections at most/)
  expect(stdout).toMatch(/server 4 {2}pulses of 10,000, then 1,000 x 2, from 45 s on/)
  expect(stdout).toMatch(/^3 runs: plain Node, with ebb\/auto, with park\(\)$/m)
})
