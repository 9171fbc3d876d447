/** README and documentation are true: commands run, links lead somewhere, code compiles, configuration works. */
import { spawnSync } from 'node:child_process'
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseRecording } from 'ebb-lab'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { Cli, MAIN, type Ran, ROOT, server } from './support/cli.js'
import { Nats, noNats } from './support/nats.js'
import { blocks, brokenLinks, commands, PAGES, sectionOf } from './support/pages.js'
import { talkingServer } from './support/talking.js'

const SCRIPTS = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> })
  .scripts

/** Commands by what they start with. Each kind has a test below. */
const npm = starting('npm ')
const ebb = starting('npx ebb ').filter((line) => !line.startsWith('npx ebb run '))
const running = starting('npx ebb run ')
const natsServers = starting('nats-server ')
const installers = starting('bench/install')
/** The steps of a bundle, which test/packages.test.ts takes. */
const bundling = [...starting('npx esbuild '), ...starting('mkdir '), ...starting('cp ')]
/** `node app.js` with flags, or with variables before it. */
const programs = [...new Set(commands.filter((line) => /^(\w+=('[^']*'|\S*) )*(node|npm start)\b/.test(line)))].filter(
  (line) => !npm.includes(line)
)

function starting(start: string): string[] {
  return [...new Set(commands.filter((line) => line.startsWith(start)))]
}

test('every command is of a kind that is tested', () => {
  const tested = new Set([...npm, ...ebb, ...running, ...natsServers, ...installers, ...bundling, ...programs])
  expect(commands.filter((line) => !tested.has(line))).toEqual([])
})

test('npm commands are scripts of the project', () => {
  for (const command of npm) {
    const [, verb = '', script = ''] = command.split(' ')
    if (verb === 'ci') expect(existsSync(join(ROOT, 'package-lock.json'))).toBe(true)
    else if (verb !== 'pack' && verb !== 'install') expect(SCRIPTS).toHaveProperty(verb === 'run' ? script : verb)
  }
})

test('npm pack makes the files that npm install is given', () => {
  const packing = npm.filter((line) => line.startsWith('npm pack '))
  const installing = npm.filter((line) => line.startsWith('npm install '))
  expect({ packing: packing.length, installing: installing.length }).toEqual({ packing: 1, installing: 1 })
  const [command = ''] = packing
  const { status, stdout } = spawnSync('sh', ['-c', `${command} --dry-run --json --ignore-scripts`], {
    cwd: ROOT,
    encoding: 'utf8'
  })
  expect(status).toBe(0)
  // npm 12 gives an object by name in place of a list.
  const packed = Object.values(JSON.parse(stdout) as Record<string, { filename: string }>).map((one) => one.filename)
  const given = installing[0]?.split(' ').slice(2)
  expect(packed).toEqual(given?.map((path) => path.replace(/^.*\//, '')))
})

test('bench/install is a program', () => {
  expect(installers).toContain('bench/install')
  accessSync(join(ROOT, 'bench/install'), constants.X_OK)
  expect(spawnSync('bash', ['-n', join(ROOT, 'bench/install')]).status).toBe(0)
})

/** A server that speaks WebSocket. */
const TALKING = join(ROOT, 'test/support/talking-server.mjs')

/** A small plan, which ends soon. The last spelling of an option counts. */
const SMALL = '--big 20 --small 10 -i 1 --linger 100ms -bs 100ms -ss 100ms --pulses 1'
const SERVER =
  "require('node:net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(Number(process.argv.at(-1)) || 0, '127.0.0.1')"

const PROTOCOL = /\b(http|ws|mqtt):\/\//
const overNats = ebb.filter((line) => line.includes(' --nats '))
const talking = ebb.filter(
  (line) => !overNats.includes(line) && line.startsWith('npx ebb pulse ') && PROTOCOL.test(line)
)
const alone = ebb.filter((line) => !overNats.includes(line) && !talking.includes(line))

test.each(talking)('%s', async (command) => {
  const port = await talkingServer(PROTOCOL.exec(command)?.[1] as string)
  const line = command
    .replace(/^npx ebb/, `exec "${process.execPath}" "${MAIN}"`)
    .replace('127.0.0.1:3033', `127.0.0.1:${port}`)
  const { code, stderr, stdout } = await new Cli(['sh', '-c', `${line} ${SMALL}`]).ended
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringMatching(/failed|lost|answered|note/) })
  expect(stdout).toMatch(/^connected +30$/m)
})

test.skipIf(noNats !== undefined).each(overNats)('%s', async (command) => {
  const jetStream = mkdtempSync(join(tmpdir(), 'ebb-readme-'))
  onTestFinished(() => rmSync(jetStream, { recursive: true }))
  const scheme = PROTOCOL.exec(command)?.[1]
  const start = async (): Promise<number> =>
    scheme === undefined ? (await server()).port : await talkingServer(scheme)
  const [nats, port] = [await Nats.start(['-js', '-sd', jetStream]), await start()]
  const second = command.includes('10.0.0.6') ? await start() : port
  const here = (line: string): string =>
    line
      .replace(/^npx ebb/, `exec "${process.execPath}" "${MAIN}"`)
      .replace(/nats:\/\/[\d.]+:4222/, nats.url)
      .replace('10.0.0.6:3033', `127.0.0.1:${second}`)
      .replace(/[\d.]+:3033\b/, `127.0.0.1:${port}`)
      .replace('--record-port 3033', `--record-port ${port}`)
      .replace('--agents 4', '--agents 2')
  const agent = (line: string): Cli => new Cli(['sh', '-c', here(line)])
  if (command.startsWith('npx ebb agent ')) {
    const started = agent(command)
    await started.said(/^Agent /m)
    expect(await started.end('SIGTERM')).toMatchObject({ code: 0 })
    return
  }
  const others = ['--allow 127.0.0.0/8', '--allow 127.0.0.0/8', '--record-port 3033']
  const started = others.map((args) => agent(`npx ebb agent --swarm lab --nats nats://10.0.0.1:4222 ${args}`))
  await Promise.all(started.map((cli) => cli.said(/^Agent /m)))
  if (command.includes(' --resume RUN ')) {
    const first = new Cli(['sh', '-c', here(`npx ebb pulse 10.0.0.5:3033 ${command.replace(/.* RUN /, '')} ${SMALL}`)])
    const [, id = ''] = await first.said(/^Run ([0-9a-f]{32}): /m)
    await first.said(/ 20 connected in /)
    await first.end('SIGKILL')
    const resumed = await new Cli(['sh', '-c', here(command.replace('RUN', id))]).ended
    expect(resumed).toMatchObject({ code: 0, stdout: expect.stringMatching(/^connected +30$/m) })
    return
  }
  const { code, stderr } = await new Cli(['sh', '-c', `${here(command)} ${SMALL}`]).ended
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('Swarm lab') })
})

test.skipIf(noNats !== undefined).each(natsServers)('%s', async (command) => {
  const directory = mkdtempSync(join(tmpdir(), 'ebb-readme-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const here = command.replace('-p 4222', '-p -1 -a 127.0.0.1').replace('/var/lib/nats', directory)
  const started = new Cli(['sh', '-c', `exec ${here}`])
  await started.said(/Server is ready/)
})

/** Has the names of the example's variants. */
const BOX = `rest: 200ms
variants: { plain Node: {}, with park(): {} }
servers:
  - command: ['${process.execPath}', ../server.js, '{port}']
    plan: { big: 20, iterations: 1, small: 10, pulses: 1, linger: 100ms, bigSeparation: 100ms }
`

/** Folders with the recordings of a command, each made once. */
const recorded = new Map<string, Promise<string>>()
afterAll(async () => {
  for (const folder of recorded.values()) rmSync(join(await folder, '..'), { recursive: true })
})

/** Returns the folder `results` that a command of ebb writes. */
function recordingsOf(command: string): Promise<string> {
  const made = recorded.get(command) ?? record(command)
  recorded.set(command, made)
  return made
}

async function record(command: string): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'ebb-readme-'))
  mkdirSync(join(directory, 'examples'))
  writeFileSync(join(directory, 'server.js'), SERVER)
  writeFileSync(join(directory, 'examples/box.yaml'), BOX)
  const made = await new Cli(['sh', '-c', `"${process.execPath}" "${MAIN}" ${command}`], { cwd: directory }).ended
  expect(made.code).toBe(0)
  return join(directory, 'results')
}

test.each(alone)('%s', async (command) => {
  // A process that can be asked for a release.
  const cli = await server([], command.includes(' --release') ? { env: { NODE_OPTIONS: '--import ebb/auto' } } : {})
  const directory = mkdtempSync(join(tmpdir(), 'ebb-readme-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  // Stand-ins for a reader's own servers.
  writeFileSync(join(directory, 'server.js'), SERVER)
  writeFileSync(join(directory, 'server.ts'), SERVER.replace('Number(process.argv.at(-1))', 'Number(process.env.PORT)'))
  const node = `"${process.execPath}"`
  let line = command
    .replace(/^npx ebb/, `${node} "${MAIN}"`)
    .replace('doctor 4242', `doctor ${cli.pid}`)
    .replace(/ 127\.0\.0\.1:3033\b/, ` 127.0.0.1:${cli.port}`)
    .replace(/--port (3033|8080)/, /ebb serve/.test(command) ? '--port 0' : `--port ${cli.port}`)
    .replace('./server -port {port}', `${node} server.js {port}`)
    .replace('bun server.ts', `${node} server.ts`)
    .replace(/--duration 60|--for 5m/, (option) => option.replace(/\S+$/, '300ms'))
    .replace(/(--url "ws:.*)node server\.js/, `$1${node} "${TALKING}" ws`)
  line = line.replace(/--runs \d+ /, '')
  // Instead of a box that takes five minutes.
  mkdirSync(join(directory, 'examples'))
  writeFileSync(join(directory, 'examples/box.yaml'), BOX)
  const name = command.split(' ')[2]
  // Instead of minutes.
  line = line
    .replace(/--ramp \S+/, '--ramp 20/300ms,0/100ms')
    .replace('--metrics :9090', '--metrics :0')
    .replace('high=1k,period=10s,duration=1m', 'high=20,period=500ms,duration=1')
  if (name === 'bench' || name === 'pulse') {
    const hasShape = / --(ramp|shape) /.test(line)
    // A shape takes the place of the pulses, in ebb bench of the big ones.
    const shaped = name === 'bench' ? SMALL.replace(/--big \d+ |-i \d+ /g, '') : ''
    const plan = hasShape ? shaped : SMALL
    line = line.includes(' -- ') ? line.replace(' -- ', ` ${plan} -- `) : `${line} ${plan}`
  }
  // A server that drops its input sends no echo, and limits say nothing at this size.
  line = line.replace(' --expect-echo', '').replace(/--max-\S+ \S+/g, '')
  if (name === 'report') {
    const make = command.includes('box.ndjson')
      ? 'box examples/box.yaml --out results/box'
      : `bench ${SMALL} --out results/bench --name ebb -- ${node} server.js {port}`
    cpSync(await recordingsOf(make), join(directory, 'results'), { recursive: true })
    for (const folder of ['now', 'main']) {
      if (command.includes(` ${folder}`))
        cpSync(join(directory, 'results/bench'), join(directory, folder), { recursive: true })
    }
  }
  const ran = new Cli(
    ['sh', '-c', `exec ${line.includes('record') && line.includes('server.js') ? `timeout -s INT 1 ${line}` : line}`],
    { cwd: directory, env: { GITHUB_STEP_SUMMARY: join(directory, 'summary.md') } }
  )
  if (name === 'serve') {
    await ran.said(/(Listening on|"listening")/)
    ran.kill('SIGTERM')
  }
  // Pages that are served until Ctrl-C.
  if (command.includes(' --serve') || (name === 'top' && command.includes(' --live'))) {
    await ran.said(/until Ctrl-C|^Live page at /m)
    ran.kill('SIGINT')
  }
  const { code, stderr } = await ran.ended
  expect({ code: code === 124 ? 0 : code, stderr: code === 0 || code === 124 ? '' : stderr }).toEqual({
    code: 0,
    stderr: ''
  })
})

test.each(running)('%s', async (command) => {
  const directory = mkdtempSync(join(ROOT, 'test', 'readme-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const source = "import { notify } from 'ebb/testing'\nnotify('READY=1')\nprocess.exit(0)\n"
  for (const name of ['app.js', 'server.js']) writeFileSync(join(directory, name), source)
  const scripts = { start: 'node app.js' }
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ private: true, type: 'module', scripts }))
  const here = command.replace(/^npx ebb/, `exec "${process.execPath}" "${MAIN}"`).replaceAll('/srv/app', directory)
  const { code, stderr } = await new Cli(['sh', '-c', here], { cwd: directory }).ended
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^ebb run: started process \d+$/m) })
})

/** A program that has a release done, and a server. If a governor is there and logs, it prints a line. */
const APP = `import http from 'node:http'
import { release } from 'ebb'
await release()
const server = http.createServer().listen(0, '127.0.0.1', () => server.close())
`

/** Runs a command in a folder that has the program, and that finds `ebb` as an application would. */
async function runProgram(command: string, env: Record<string, string> = {}): Promise<Ran> {
  const directory = mkdtempSync(join(ROOT, 'test', 'readme-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  for (const name of ['app.js', 'server.js']) writeFileSync(join(directory, name), APP)
  writeFileSync(
    join(directory, 'package.json'),
    JSON.stringify({ private: true, type: 'module', scripts: { start: 'node app.js' } })
  )
  return await new Cli(['sh', '-c', command], { cwd: directory, env: { EBB_LOG: '1', ...env } }).ended
}

const LOG_LINE = /^ebb: .*\basked$/m
const PARK_LINE = /^ebb: parking HTTP connections and WebSockets of 127\.0\.0\.1:\d+, idle 1000 ms$/m

test.each(programs)('%s', async (command) => {
  expect(programs.length).toBeGreaterThan(0)
  expect(command).toMatch(/ebb\/(?:auto|park)/)
  const line = command.includes('ebb/auto') ? LOG_LINE : PARK_LINE
  expect(await runProgram(command)).toMatchObject({ code: 0, stderr: expect.stringMatching(line) })
})

test('the lines of the log look as a page shows them', async () => {
  const shown = blocks('').flatMap(({ text }) => text.split('\n').filter((line) => line.startsWith('ebb: ')))
  const { stderr } = await runProgram('node --import ebb/auto --import ebb/park app.js')
  const form = (line: string): string =>
    line
      .replace(/-?\d+(\.\d+)?/g, '0')
      .replace(/no memory limit|memory limit 0 MB/, 'LIMIT')
      .replace(/no memory pressure|memory pressure from \S+/, 'PRESSURE')
      .replace(/\w+$/, 'REASON')
  expect(stderr.trim().split('\n').map(form)).toEqual([...new Set(shown.map(form))])
})

test('units of systemd start a program under ebb/auto', async () => {
  const units = blocks('ini')
  expect(units.length).toBeGreaterThan(0)
  for (const { text } of units) {
    const entries = text.split('\n').flatMap((line) => {
      const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? []
      return key === undefined || value === undefined ? [] : [[key, value] as const]
    })
    const unit = Object.fromEntries(entries)
    // Without it the working directory is /, from where Node would look for `ebb`.
    expect(unit).toHaveProperty('WorkingDirectory')
    const env = Object.fromEntries(
      (unit.Environment ?? '').split(' ').map((pair) => pair.split('=') as [string, string])
    )
    const ran = await runProgram((unit.ExecStart ?? '').replace(/^\S*node/, `"${process.execPath}"`), env)
    expect(ran).toMatchObject({ code: 0, stderr: expect.stringMatching(LOG_LINE) })
  }
})

test('container files start a program under ebb/auto', async () => {
  const files = blocks('dockerfile')
  expect(files.length).toBeGreaterThan(0)
  for (const { text } of files) {
    const [program = '', ...args] = JSON.parse(/^CMD (.*)$/m.exec(text)?.[1] ?? '') as string[]
    expect(program).toBe('node')
    const env = Object.fromEntries(
      [...text.matchAll(/^ENV (\w+)=(.*)$/gm)].map(([, key = '', value = '']) => [key, value])
    )
    const ran = await runProgram(['node', ...args].join(' '), env)
    expect(ran).toMatchObject({ code: 0, stderr: expect.stringMatching(LOG_LINE) })
  }
})

/** The parser of the laboratory, whose dependency it is. */
const { parse } = createRequire(join(ROOT, 'packages/ebb-lab/package.json'))('yaml') as { parse(text: string): unknown }

const yamls = blocks('yaml').map(({ page, text }, i) => ({ page, text, title: `${page}, block ${i + 1}` }))

test.each(yamls)('YAML of $title', async ({ text }) => {
  const value = parse(text) as Record<string, unknown>
  if ('servers' in value) {
    const directory = mkdtempSync(join(tmpdir(), 'ebb-readme-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    for (const csv of blocks('csv')) writeFileSync(join(directory, 'feed.csv'), csv.text)
    writeFileSync(join(directory, 'box.yaml'), text)
    const { code, stderr } = await new Cli([process.execPath, MAIN, 'box', 'box.yaml', '--dry-run'], { cwd: directory })
      .ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return
  }
  const env = variablesIn(value)
  expect(env.NODE_OPTIONS).toContain('ebb/auto')
  expect(await runProgram('node app.js', env)).toMatchObject({ code: 0, stderr: expect.stringMatching(LOG_LINE) })
})

/** Environment variables as Compose (`NAME: value`) and Kubernetes (`{ name, value }`) write them. */
function variablesIn(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {}
  const own = Object.entries(value).filter(
    ([name, set]) => /^(EBB_\w+|NODE_OPTIONS)$/.test(name) && typeof set === 'string'
  )
  const { name, value: set } = value as { name?: unknown; value?: unknown }
  const listed = typeof name === 'string' && typeof set === 'string' ? { [name]: set } : {}
  return Object.assign({}, ...Object.values(value).map(variablesIn), Object.fromEntries(own), listed) as Record<
    string,
    string
  >
}

test.each([
  ['ebb/auto', 'docs/reference/governor.md', '## govern()', 10],
  ['ebb/park', 'docs/reference/preload.md', '## Options', 8]
])('each variable of %s that its page lists is read', async (entry, page, section, count) => {
  const names = [...sectionOf(page, section).matchAll(/^\|(?:[^|]*\|)? `(EBB_\w+)` \|/gm)]
  expect(names.length).toBe(count)
  for (const [, name = ''] of names) {
    const { code, stderr } = await runProgram(`node --import ${entry} app.js`, { [name]: 'a,,b' })
    expect({ name, code, stderr }).toEqual({
      name,
      code: 1,
      stderr: expect.stringContaining(`${entry}: ${name} must be`)
    })
  }
})

const REFERENCE = 'docs/reference/cli.md'
const OPTION = /`(--[a-z][a-z-]*)`/g

/** Sections of the reference that hold the options of a command. */
const SECTIONS: Record<string, string[]> = {
  serve: ['## ebb serve'],
  pulse: ['## ebb pulse', '## Options of swarms'],
  record: ['## ebb record'],
  bench: ['## ebb bench', '## ebb pulse', '## Options of swarms'],
  doctor: ['## ebb doctor'],
  top: ['## ebb top'],
  box: ['## ebb box'],
  report: ['## ebb report'],
  agent: ['## ebb agent', '## Options of swarms']
}

test.each(Object.entries(SECTIONS))('the reference has the options of ebb %s', async (name, sections) => {
  const { stdout } = await new Cli([process.execPath, MAIN, name, '--help']).ended
  const offered = [...stdout.matchAll(/^ {2}(?:-\w, )?(--[a-z][a-z-]*)/gm)].map(([, option]) => option)
  const text = sections.map((heading) => sectionOf(REFERENCE, heading)).join('\n')
  const told = [...text.matchAll(OPTION)].map(([, option]) => option)
  expect(offered.filter((option) => option !== '--help' && !told.includes(option))).toEqual([])
  // In the table of the command itself, nothing that it does not have.
  const rows = sectionOf(REFERENCE, sections[0] as string).match(/^\| `.*?\|/gm) ?? []
  const listed = [...rows.join('\n').matchAll(OPTION)].map(([, option]) => option)
  expect(listed.filter((option) => !offered.includes(option))).toEqual([])
})

test('the example of a recording can be read', async () => {
  for (const { text } of blocks('json')) {
    const { header, samples, events } = await parseRecording(text)
    expect({ format: header.format, samples: samples.length, events: events.length }).toEqual({
      format: 1,
      samples: 1,
      events: 1
    })
  }
})

test.each(PAGES)('links of %s lead somewhere', (page) => {
  expect(brokenLinks(page)).toEqual([])
})

test('pages that source files name are there', () => {
  const { stdout } = spawnSync('git', ['grep', '-IohE', 'docs/[a-z/-]+[.]md', '--', 'packages', 'examples'], {
    cwd: ROOT,
    encoding: 'utf8'
  })
  const named = [...new Set(stdout.split('\n').filter((path) => path !== ''))]
  expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
})

test('JavaScript has no errors of syntax', () => {
  for (const { page, text } of [...blocks('js'), ...blocks('mjs')]) {
    const { stderr } = spawnSync(process.execPath, ['--check', '--input-type=module', '-'], {
      input: text,
      encoding: 'utf8'
    })
    expect({ page, stderr }).toEqual({ page, stderr: '' })
  }
})

test('the code compiles', () => {
  const directory = mkdtempSync(join(ROOT, 'test', 'readme-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const all = [...blocks('ts')]
  for (const [i, { text }] of all.entries()) {
    const imports = text.includes("from 'ebb'") || text.includes("from 'ebb-lab'") || text.includes("from 'ebb/memory'")
    writeFileSync(
      join(directory, `block${i}.ts`),
      `${imports ? '' : "import { listen } from 'ebb'\n"}${text}\nexport {}\n`
    )
  }
  writeFileSync(
    join(directory, 'tsconfig.json'),
    JSON.stringify({
      extends: '../../tsconfig.base.json',
      compilerOptions: { noEmit: true, noUnusedLocals: false },
      include: ['*.ts']
    })
  )
  const { status, stdout } = spawnSync(
    process.execPath,
    [join(ROOT, 'node_modules/@typescript/native/bin/tsc'), '-p', directory],
    { encoding: 'utf8' }
  )
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  expect(all.length).toBeGreaterThan(3)
})
