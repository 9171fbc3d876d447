/** The README and the documents are true: their commands run, their files are there, their code compiles. */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Cli, MAIN, ROOT, server } from './support/cli.js'
import { Nats, noNats } from './support/nats.js'

const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
  'packages/ebb/README.md',
  'packages/ebb-lab/README.md'
]
const SCRIPTS = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> })
  .scripts

function blocks(language: string): { page: string; text: string }[] {
  return PAGES.flatMap((page) => {
    const text = readFileSync(join(ROOT, page), 'utf8')
    return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map((match) => ({
      page,
      text: match[1] ?? ''
    }))
  })
}

const commands = blocks('sh').flatMap(({ text }) =>
  text
    .split('\n')
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => line !== '')
)

test('npm commands are scripts of the project', () => {
  for (const command of commands.filter((line) => line.startsWith('npm '))) {
    const [, verb = '', script = ''] = command.split(' ')
    if (verb === 'ci') expect(existsSync(join(ROOT, 'package-lock.json'))).toBe(true)
    else expect(SCRIPTS).toHaveProperty(verb === 'run' ? script : verb)
  }
})

/** Sizes that end soon; the last spelling of an option counts. */
const SMALL = '--big 20 --small 10 -i 1 --linger 100ms -bs 100ms -ss 100ms --pulses 1'
const SERVER =
  "require('node:net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(Number(process.argv.at(-1)) || 0, '127.0.0.1')"

const [overNats, alone] = [true, false].map((nats) => [
  ...new Set(commands.filter((line) => line.startsWith('npx ebb ') && line.includes(' --nats ') === nats))
]) as [string[], string[]]

test.skipIf(noNats !== undefined).each(overNats)('%s', async (command) => {
  const [nats, held] = [await Nats.start(), await server()]
  const here = (line: string): string =>
    line
      .replace(/^npx ebb/, `exec "${process.execPath}" "${MAIN}"`)
      .replace(/nats:\/\/[\d.]+:4222/, nats.url)
      .replace(/[\d.]+:3033\b/, `127.0.0.1:${held.port}`)
      .replace('--record-port 3033', `--record-port ${held.port}`)
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
  const { code, stderr } = await new Cli(['sh', '-c', `${here(command)} ${SMALL}`]).ended
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('Swarm lab') })
})

test.skipIf(noNats !== undefined).each(commands.filter((line) => line.startsWith('nats-server ')))(
  '%s',
  async (command) => {
    const started = new Cli(['sh', '-c', `exec ${command.replace('-p 4222', '-p -1 -a 127.0.0.1')}`])
    await started.said(/Server is ready/)
  }
)

/** With the names of the example's variants. */
const BOX = `rest: 200ms
variants: { plain Node: {}, with park(): {} }
servers:
  - command: ['${process.execPath}', ../server.js, '{port}']
    plan: { big: 20, iterations: 1, small: 10, pulses: 1, linger: 100ms, bigSeparation: 100ms }
`

test.each(alone)('%s', async (command) => {
  const cli = await server()
  const directory = mkdtempSync(join(tmpdir(), 'ebb-readme-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  // Stand-ins for a stranger's own servers.
  writeFileSync(join(directory, 'server.js'), SERVER)
  writeFileSync(join(directory, 'server.ts'), SERVER.replace('Number(process.argv.at(-1))', 'Number(process.env.PORT)'))
  const node = `"${process.execPath}"`
  let line = command
    .replace(/^npx ebb/, `${node} "${MAIN}"`)
    .replace(/ 127\.0\.0\.1:3033\b/, ` 127.0.0.1:${cli.port}`)
    .replace(/--port (3033|8080)/, /ebb serve/.test(command) ? '--port 0' : `--port ${cli.port}`)
    .replace('./server -port {port}', `${node} server.js {port}`)
    .replace('bun server.ts', `${node} server.ts`)
    .replace('--duration 60', '--duration 300ms')
  // In place of a box of five minutes.
  mkdirSync(join(directory, 'examples'))
  writeFileSync(join(directory, 'examples/box.yaml'), BOX)
  const name = command.split(' ')[2]
  if (name === 'bench' || name === 'pulse')
    line = line.includes(' -- ') ? line.replace(' -- ', ` ${SMALL} -- `) : `${line} ${SMALL}`
  // No echo comes from a server that drops; no verdict of a gate is meant at this size.
  line = line.replace(' --expect-echo', '').replace(/--max-\S+ \S+/g, '')
  if (name === 'report') {
    const make = command.includes('box.ndjson')
      ? 'box examples/box.yaml --out results'
      : `bench ${SMALL} --out results --name ebb -- ${node} server.js {port}`
    const made = new Cli(['sh', '-c', `${node} "${MAIN}" ${make}`], { cwd: directory })
    expect((await made.ended).code).toBe(0)
  }
  const ran = new Cli(
    ['sh', '-c', `exec ${line.includes('record') && line.includes('server.js') ? `timeout -s INT 1 ${line}` : line}`],
    { cwd: directory }
  )
  if (name === 'serve') {
    await ran.said(/(Listening on|"listening")/)
    ran.kill('SIGTERM')
  }
  const { code, stderr } = await ran.ended
  expect({ code: code === 124 ? 0 : code, stderr: code === 0 || code === 124 ? '' : stderr }).toEqual({
    code: 0,
    stderr: ''
  })
})

test('links to files lead somewhere', () => {
  for (const page of PAGES) {
    const text = readFileSync(join(ROOT, page), 'utf8')
    for (const [, link = ''] of text.matchAll(/\]\(((?!https?:)[^)#]+)\)/g)) {
      expect(existsSync(join(ROOT, dirname(page), link)), `${page}: ${link}`).toBe(true)
    }
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
