/** The packed packages as a stranger has them: installed in an empty folder, on every Node that is supported. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { nodeOf, npm, type Ran, registryAnswers, run } from './support/nodes.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PACKAGES = ['ebb', 'ebb-lab']
/** The first is the oldest that `engines` allows. */
const NODES = ['20.19.0', '22', '24', '26'] as const
const OLDEST = NODES[0]
/** All that `ebb` exports, without `ebb/auto` and `ebb/park`, which act when they are loaded. */
const ENTRIES = Object.keys(manifest('ebb').exports)
  .filter((entry) => !['./auto', './park', './package.json'].includes(entry))
  .map((entry) => entry.replace('.', 'ebb'))

interface Manifest {
  version: string
  exports: Record<string, unknown>
}

function manifest(name: string): Manifest {
  return JSON.parse(readFileSync(join(ROOT, 'packages', name, 'package.json'), 'utf8')) as Manifest
}

/** Says whether connections can be parked, answers one and ends. `$park` and `$net` are in scope. */
const SERVER = `
  const server = park(net.createServer((socket) => socket.end('hello')), { idle: '1s' })
  server.listen(0, '127.0.0.1', () => {
    net.connect(server.address().port, '127.0.0.1').end('x').on('data', (bytes) => {
      console.log(server.supported, String(bytes))
      server.close()
    })
  })
`
const ESM_SERVER = `import net from 'node:net'\nimport { park } from 'ebb'\n${SERVER}`
const CJS_SERVER = `const net = require('node:net')\nconst { park } = require('ebb')\n${SERVER}`
const SERVED = { status: 0, stdout: 'true hello\n', stderr: '' }

/** Asks itself twice, with a pause, and says whether the connection has another socket then. */
const PLAIN_SERVER = `
  const http = require('node:http')
  const sockets = new Set()
  const server = http.createServer(({ socket }, response) => response.end(String(sockets.add(socket).size)))
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  server.listen(0, () => {
    const { port } = server.address()
    const ask = (then) => http.get({ port, agent }, (response) => response.on('end', then).resume())
    const wait = () => setTimeout(() => ask(() => {
      if (sockets.size < 2) return wait()
      console.log('woken')
      agent.destroy()
      server.close()
    }), 1200)
    ask(wait)
  })
`

/** A program that uses every entry, for the compilers. */
const TYPED = `
import net from 'node:net'
import { listen, park, release, type Parked, type ParkOptions, type Release } from 'ebb'
import { listen as listenAlone } from 'ebb/listen'
import { runtimeView } from 'ebb/memory'
import { type Metrics, metrics } from 'ebb/metrics'
import { createServer } from 'ebb/net'
import { reactor } from 'ebb/sys'
const options: ParkOptions = { idle: '5s' }
const server: net.Server & Parked = park(net.createServer(), options)
const supported: boolean = server.supported
const released: Promise<Release> = release()
const all: Metrics = metrics({ servers: { server } })
export { supported, released, all, listen, listenAlone, createServer, runtimeView, reactor }
`
const TYPED_LAB = `
import { judge, pulse, readRecording, type Recording, type Verdict } from 'ebb-lab'
import * as testing from 'ebb-lab/testing'
export const verdict = (recording: Recording): Verdict => judge(recording)
export { pulse, readRecording, testing }
`

/** Escapes text for a regular expression. */
function escaped(text: string): string {
  return text.replace(/[()/.]/g, '\\$&')
}

const reachable = registryAnswers()
if (!reachable) console.warn('packages.test.ts: the npm registry cannot be reached; the packages are not tried')

describe.skipIf(!reachable || process.platform !== 'linux')('packed and installed', () => {
  let folder: string
  let tarballs: string[]
  /** What npm said when it installed both packages on the oldest Node. */
  let installed: Ran
  const nodes = new Map<string, string>()

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'ebb-packages-'))
    for (const version of NODES) nodes.set(version, nodeOf(version))
    tarballs = PACKAGES.map((name) => {
      const packed = npm(['pack', '--silent', '--ignore-scripts', '--pack-destination', folder], {
        cwd: join(ROOT, 'packages', name)
      })
      return join(folder, packed.stdout.trim())
    })
    installed = install(join(folder, 'app'), tarballs, OLDEST)
  }, 180_000)

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  function install(cwd: string, packages: string[], version: string, options: string[] = []): Ran {
    mkdirSync(cwd, { recursive: true })
    writeFileSync(join(cwd, 'package.json'), '{ "name": "app", "private": true }\n')
    return npm(['install', '--no-audit', '--no-fund', ...options, ...packages], { cwd, node: nodeAt(version) })
  }

  function nodeAt(version: string): string {
    return nodes.get(version) ?? nodeOf(version)
  }

  /** Writes a file to the app and runs it. */
  function program(version: string, name: string, text: string, args: string[] = [], app = 'app'): Ran {
    const cwd = join(folder, app)
    mkdirSync(dirname(join(cwd, name)), { recursive: true })
    writeFileSync(join(cwd, name), text)
    return run(nodeAt(version), [...args, name], { cwd })
  }

  test('installs on the oldest Node without a warning about engines', () => {
    expect(installed.stderr).not.toMatch(/EBADENGINE|deprecated/)
    expect(installed.status).toBe(0)
  })

  test('the tarballs hold sources and what was built from them, and no tests', () => {
    for (const name of PACKAGES) {
      const content = join(folder, 'app/node_modules', name)
      const files = readdirSync(content, { recursive: true, encoding: 'utf8' })
      expect(files).toEqual(expect.arrayContaining(['README.md', 'LICENSE', 'package.json', 'dist/index.d.ts']))
      expect(files.filter((path) => /\.test\.|tsbuildinfo/.test(path))).toEqual([])
      const orphans = files
        .filter((path) => /^dist\/(?!cjs|shared\/).*\.js$/.test(path))
        .filter((path) => !existsSync(join(ROOT, 'packages', name, path.replace('dist', 'src').replace(/js$/, 'ts'))))
      expect(orphans).toEqual([])
    }
  })

  test('the entries of ebb load few files, of sources that are published, and an earlier build left none', () => {
    const dist = join(folder, 'app/node_modules/ebb/dist')
    // esbuild breaks long lines in the middle of strings.
    const read = (path: string): string => readFileSync(join(dist, path), 'utf8').replaceAll('\\\n', '')
    const matches = (path: string, pattern: RegExp): string[] =>
      [...read(path).matchAll(pattern)].map(([, to = '']) => join(dirname(path), to))
    const sourcesOf = (path: string): string[] => (JSON.parse(read(`${path}.map`)) as { sources: string[] }).sources
    const modules = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter(
      (path) => path.endsWith('.js') && !path.startsWith('cjs')
    )
    const named = new Set(modules.flatMap((path) => matches(path, /["'](\.{1,2}\/[^"']+\.js)["']/g)))
    expect([...named].filter((path) => !modules.includes(path))).toEqual([])
    expect(modules.filter((path) => path.startsWith('shared') && !named.has(path))).toEqual([])
    for (const path of modules) {
      const lost = sourcesOf(path).filter((source) => !existsSync(join(dist, dirname(path), source)))
      expect(lost, path).toEqual([])
    }
    const loaded = new Set(['index.js'])
    for (const path of loaded) {
      for (const other of matches(path, /(?:from|import)\s*["'](\.[^"']+)["']/g)) loaded.add(other)
    }
    expect(loaded.size).toBeLessThan([...loaded].flatMap(sourcesOf).length / 3)
  })

  test('the tarballs hold the documentation, and --help says where it is', () => {
    const cwd = join(folder, 'app')
    for (const name of PACKAGES) {
      const docs = join(cwd, 'node_modules', name, 'docs')
      const pages = readdirSync(docs, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.md'))
      expect(pages).toEqual(expect.arrayContaining(['README.md', 'reference/cli.md', 'guides/getting-started.md']))
      for (const page of pages) {
        const text = readFileSync(join(docs, page), 'utf8').replace(/^```.*?^```/gms, '')
        for (const [, target = ''] of text.matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g))
          expect(existsSync(join(docs, dirname(page), target)), `${page}: ${target}`).toBe(true)
      }
    }
    const help = (args: string[], at: string): string =>
      run(join(cwd, 'node_modules/.bin/ebb'), [...args, '--help'], { cwd: at }).stdout
    expect(help([], cwd)).toContain('Documentation: node_modules/ebb-lab/docs/README.md\n')
    expect(help([], '/etc')).toContain(`Documentation: ${cwd}/node_modules/ebb-lab/docs/README.md\n`)
    const page = /^(\S+box-file\.md) lists all keys/m.exec(help(['box'], cwd))?.[1] ?? ''
    expect(existsSync(join(cwd, page))).toBe(true)
  })

  test.each([
    { order: [0, 1], options: [] },
    { order: [1, 0], options: [] },
    { order: [0], options: [] },
    { order: [0, 1], options: ['--global'] }
  ])('the command ebb: packages $order, one after the other, $options', { timeout: 120_000 }, ({ order, options }) => {
    const cwd = join(folder, `command-${order.join('-')}${options.join('')}`)
    mkdirSync(cwd)
    writeFileSync(join(cwd, 'package.json'), '{ "name": "app", "private": true }\n')
    for (const index of order) {
      // `ebb-lab` needs `ebb` from its tarball, too.
      const packages = index === 1 ? tarballs : tarballs.slice(0, 1)
      const args = ['install', '--no-audit', '--no-fund', '--prefix', cwd, ...options, ...packages]
      expect(npm(args, { cwd, node: nodeAt(OLDEST) })).toMatchObject({ status: 0 })
    }
    const bin = join(cwd, options.length > 0 ? 'bin/ebb' : 'node_modules/.bin/ebb')
    const command = (...args: string[]): Ran => run(bin, args, { cwd: options.length > 0 ? '/' : cwd })
    expect(command('run', '--', 'true')).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('ebb run: started process ')
    })
    expect(command('run', '--help').stdout).toMatch(/^Usage: ebb run /)
    expect(command('--version')).toMatchObject({ status: 0, stdout: `${manifest('ebb').version}\n` })
    const [help, bench] = [command('--help').stdout, command('bench', '--help')]
    if (order.includes(1)) {
      expect(help).toMatch(/^ {2}bench /m)
      expect(bench).toMatchObject({ status: 0, stdout: expect.stringMatching(/^Usage: ebb bench /) })
    } else {
      expect(help).toMatch(/come with the package ebb-lab/)
      const stderr = 'ebb: the command "bench" belongs to the package ebb-lab: npm install --save-dev ebb-lab\n'
      expect(bench).toMatchObject({ status: 1, stderr })
    }
  })

  test('the documented unit starts from /, as a service does, and NODE_OPTIONS works in any folder', () => {
    const cwd = join(folder, 'app')
    const page = readFileSync(join(ROOT, 'docs/guides/containers-and-systemd.md'), 'utf8')
    const setting = (name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(page)?.[1] ?? ''
    const here = (text: string): string => text.replace('/srv/app', cwd).replace('/usr/bin/node', process.execPath)
    writeFileSync(join(cwd, 'server.js'), "console.log('serving')")
    const start = (workingDirectory: string): Ran =>
      run(
        '/bin/sh',
        ['-c', `cd '${workingDirectory}' && exec env ${setting('Environment')} ${here(setting('ExecStart'))}`],
        {
          cwd: '/'
        }
      )
    expect(start(here(setting('WorkingDirectory')))).toEqual({
      status: 0,
      stdout: 'serving\n',
      stderr: expect.stringContaining('ebb: governor started')
    })
    expect(start('/')).toMatchObject({ status: 1, stderr: expect.stringContaining('ERR_MODULE_NOT_FOUND') })
    const [, options = ''] = /`(--import \/srv\/\S+)`/.exec(page) ?? []
    expect(
      run(process.execPath, ['-p', '1'], { cwd: '/', env: { NODE_OPTIONS: here(options), EBB_LOG: '1' } })
    ).toEqual({
      status: 0,
      stdout: '1\n',
      stderr: expect.stringContaining('ebb: governor started')
    })
  })

  test('attw finds no problem', { timeout: 120_000 }, () => {
    for (const [index, options] of [[], ['--profile', 'esm-only']].entries()) {
      const checked = run(join(ROOT, 'node_modules/.bin/attw'), [tarballs[index] ?? '', ...options], { cwd: ROOT })
      expect(checked.status, checked.stdout).toBe(0)
    }
  })

  describe.each(NODES)('Node %s', (version) => {
    test('import', () => {
      expect(program(version, 'import.mjs', ESM_SERVER)).toEqual(SERVED)
    })

    test('require()', () => {
      expect(program(version, 'require.cjs', CJS_SERVER)).toEqual(SERVED)
    })

    test('import and require() give the same functions', () => {
      const text = `
        const { createRequire } = require('node:module')
        const entries = ${JSON.stringify(ENTRIES)}
        Promise.all(entries.map(async (entry) => {
          const imported = await import(entry)
          const required = require(entry)
          for (const name of Object.keys(imported))
            if (name !== 'default' && imported[name] !== required[name]) throw new Error(entry + ': ' + name)
          return Object.keys(imported).length > 0
        })).then((filled) => console.log(filled.every(Boolean)))
      `
      expect(program(version, 'same.cjs', text)).toEqual({ status: 0, stdout: 'true\n', stderr: '' })
    })

    test('--import and -r ebb/auto', () => {
      for (const flag of ['--import', '-r'])
        expect(program(version, 'auto.cjs', 'console.log(1)', [flag, 'ebb/auto'])).toEqual({
          status: 0,
          stdout: '1\n',
          stderr: ''
        })
    })

    test('--import and -r ebb/park, alone and with ebb/auto', () => {
      for (const args of [
        ['--import', 'ebb/park'],
        ['-r', 'ebb/park'],
        ['-r', 'ebb/park', '--import', 'ebb/auto']
      ]) {
        expect(program(version, 'plain.cjs', PLAIN_SERVER, args)).toEqual({
          status: 0,
          stdout: 'woken\n',
          stderr: expect.stringMatching(/^ebb: parking HTTP connections and WebSockets of \[::\]:\d+, idle 1000 ms\n$/)
        })
      }
    })

    test('ebb-lab: import, require() and the command', () => {
      expect(program(version, 'lab.mjs', "import { judge } from 'ebb-lab'\nconsole.log(typeof judge)")).toEqual({
        status: 0,
        stdout: 'function\n',
        stderr: ''
      })
      expect(program(version, 'lab.cjs', "console.log(typeof require('ebb-lab').judge)")).toMatchObject({
        status: 0,
        stdout: 'function\n'
      })
      const cwd = join(folder, 'app')
      expect(run('node_modules/.bin/ebb', ['--version'], { cwd, node: nodeAt(version) })).toEqual({
        status: 0,
        stdout: `${manifest('ebb-lab').version}\n`,
        stderr: ''
      })
      // The file of the server calls the kernel, and knows its errors.
      const foreign = ['serve', '--host', '192.0.2.1']
      expect(run('node_modules/.bin/ebb', foreign, { cwd, node: nodeAt(version) })).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/^ebb: EADDRNOTAVAIL: this machine has no address 192\.0\.2\.1: [^\n]+\n$/)
      })
    })
  })

  describe('TypeScript, strict, without skipLibCheck', () => {
    const COMPILERS = ['5.9', '7']
    /** Settings that decide how imports are resolved, and whether `ebb-lab` is compiled, which takes seconds. */
    const SETTINGS: [name: string, extension: string, options: object, lab: boolean][] = [
      ['node16, ES module', 'mts', { module: 'node16' }, false],
      ['node16, CommonJS', 'cts', { module: 'node16' }, false],
      ['nodenext, ES module', 'mts', { module: 'nodenext' }, true],
      ['nodenext, CommonJS', 'cts', { module: 'nodenext' }, false],
      ['esnext and bundler', 'ts', { module: 'esnext', moduleResolution: 'bundler' }, true],
      // Without moduleResolution: node10 in 5.9, bundler in 7.
      ['commonjs', 'ts', { module: 'commonjs', esModuleInterop: true }, false]
    ]

    beforeAll(() => {
      const app = join(folder, 'app')
      const added = npm(
        [
          'install',
          '--no-audit',
          '--no-fund',
          '--ignore-scripts',
          '@types/node@20',
          ...COMPILERS.map((version) => `typescript-${version}@npm:typescript@${version}`)
        ],
        { cwd: app }
      )
      expect(added.status, added.stderr).toBe(0)
    }, 180_000)

    test.each(COMPILERS.flatMap((compiler) => SETTINGS.map((setting) => [compiler, ...setting] as const)))(
      '%s: %s',
      (compiler, name, extension, options, lab) => {
        const app = join(folder, 'app')
        const project = join(app, `types-${compiler}-${name.replace(/\W+/g, '-')}`)
        mkdirSync(project)
        writeFileSync(join(project, `main.${extension}`), lab ? TYPED + TYPED_LAB : TYPED)
        const compilerOptions = {
          ...options,
          target: 'es2022',
          lib: ['es2023'],
          types: ['node'],
          strict: true,
          exactOptionalPropertyTypes: true,
          skipLibCheck: false,
          noEmit: true
        }
        const files = [`main.${extension}`]
        writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
        const compiled = run(
          process.execPath,
          [join(app, `node_modules/typescript-${compiler}/bin/tsc`), '-p', project],
          {
            cwd: app
          }
        )
        expect(compiled).toEqual({ status: 0, stdout: '', stderr: '' })
      }
    )
  })

  describe('Jest', () => {
    beforeAll(() => {
      const added = npm(['install', '--no-audit', '--no-fund', '--ignore-scripts', 'jest@30'], {
        cwd: join(folder, 'app')
      })
      expect(added.status, added.stderr).toBe(0)
      mkdirSync(join(folder, 'app/jest'))
      writeFileSync(
        join(folder, 'app/jest/server.test.js'),
        `const net = require('node:net')
        const { park, release } = require('ebb')
        test('parks', (done) => {
          const server = park(net.createServer((socket) => socket.resume().end('hello')))
          expect(server.supported).toBe(true)
          server.listen(0, '127.0.0.1', () => {
            net.connect(server.address().port, '127.0.0.1').end('x').on('data', (bytes) => {
              expect(String(bytes)).toBe('hello')
              server.close(done)
            })
          })
        })
        test('releases', async () => expect((await release()).afterTrim).toBeGreaterThan(0))
        `
      )
    }, 180_000)

    test.each(NODES)('a test that requires ebb passes on Node %s', (version) => {
      const cwd = join(folder, 'app')
      const jest = ['node_modules/jest/bin/jest.js', '--rootDir', 'jest', '--ci']
      const tested = run(nodeAt(version), jest, { cwd, node: nodeAt(version) })
      expect(tested.stderr).toMatch(/Tests: +2 passed/)
      expect(tested.status).toBe(0)
      // The preload is outside of Jest's modules, and the test uses the copy inside.
      const preloaded = run(nodeAt(version), ['--import', 'ebb/park', ...jest, '-i'], {
        cwd,
        node: nodeAt(version),
        env: { NODE_OPTIONS: '--import ebb/park', EBB_PARK_NET: 'all' }
      })
      expect(preloaded.stderr).toMatch(/Tests: +2 passed/)
      expect(preloaded.status).toBe(0)
    })
  })

  describe('bundled by esbuild', () => {
    /** Bundles the server into a folder of its own, far from `node_modules`. */
    async function bundle(format: 'esm' | 'cjs', options: BuildOptions = {}): Promise<{ cwd: string; name: string }> {
      const app = join(folder, 'app')
      const cwd = mkdtempSync(join(folder, `bundle-${format}-`))
      const name = `server.${format === 'esm' ? 'mjs' : 'cjs'}`
      const entry = join(app, `entry-${format}.mjs`)
      writeFileSync(entry, ESM_SERVER)
      const result = await build({
        entryPoints: [entry],
        outfile: join(cwd, name),
        bundle: true,
        platform: 'node',
        format,
        logLevel: 'silent',
        ...options
      })
      expect(result.warnings).toEqual([])
      expect(result.errors).toEqual([])
      return { cwd, name }
    }

    /** Puts beside a bundle what `docs/guides/getting-started.md` says, and nothing else. */
    function ship(cwd: string, ...names: string[]): void {
      for (const name of names)
        cpSync(join(folder, 'app/node_modules', name), join(cwd, 'node_modules', name), { recursive: true })
    }

    test.each(['esm', 'cjs'] as const)('%s: supported with koffi and its binary beside the bundle', async (format) => {
      const { cwd, name } = await bundle(format)
      ship(cwd, 'koffi', '@koromix')
      expect(readdirSync(join(cwd, 'node_modules')).sort()).toEqual(['@koromix', 'koffi'])
      for (const version of [OLDEST, '26']) expect(run(nodeAt(version), [name], { cwd })).toEqual(SERVED)
    })

    // Bundlers do not see how ebb loads koffi, so neither option puts koffi into the bundle or takes it out.
    test.each<[string, 'esm' | 'cjs', BuildOptions]>([
      ['nothing', 'esm', {}],
      ['nothing', 'cjs', {}],
      ['external: koffi', 'esm', { external: ['koffi'] }],
      ['loader: copy', 'esm', { loader: { '.node': 'copy' } }]
    ])('with %s, %s: plain Node and one warning without koffi beside it', async (_, format, options) => {
      const { cwd, name } = await bundle(format, options)
      expect(readdirSync(cwd)).toEqual([name])
      const served = run(nodeAt(OLDEST), [name], { cwd })
      expect(served).toMatchObject({ status: 0, stdout: 'false hello\n' })
      expect(served.stderr.match(/Warning:/g)).toHaveLength(1)
      expect(served.stderr).toMatch(/koffi cannot be loaded: .*node_modules\/koffi and node_modules\/@koromix/)
    })

    test('koffi without its binary: plain Node and one warning', async () => {
      const { cwd, name } = await bundle('esm')
      ship(cwd, 'koffi')
      const served = run(nodeAt(OLDEST), [name], { cwd })
      expect(served).toMatchObject({ status: 0, stdout: 'false hello\n' })
      expect(served.stderr).toMatch(/koffi cannot be loaded: .*node_modules\/@koromix/)
    })

    test.each(['esm', 'cjs'] as const)('%s: supported where the program is installed', async (format) => {
      const name = `bundle.${format === 'esm' ? 'mjs' : 'cjs'}`
      const cwd = join(folder, 'app')
      await bundle(format, { outfile: join(cwd, name), external: ['koffi'] })
      for (const version of [OLDEST, '26']) expect(run(nodeAt(version), [name], { cwd })).toEqual(SERVED)
    })

    test.each(['esm', 'cjs'] as const)('ebb/auto in a bundle (%s) governs the program', async (format) => {
      const cwd = join(folder, 'app')
      const name = `auto-${format}`
      const entry = join(cwd, `${name}-entry.mjs`)
      const governor = "globalThis[Symbol.for('ebb.governing.1')]"
      writeFileSync(entry, `import 'ebb/auto'\nsetTimeout(() => console.log(typeof ${governor}?.stats), 200)\n`)
      const outfile = join(cwd, `${name}.${format === 'esm' ? 'mjs' : 'cjs'}`)
      await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format, logLevel: 'silent' })
      for (const version of [OLDEST, '26']) {
        expect(run(nodeAt(version), [outfile], { cwd })).toEqual({ status: 0, stdout: 'function\n', stderr: '' })
      }
    })

    test.each(['esm', 'cjs'] as const)('ebb/park in a bundle (%s) parks the program', async (format) => {
      const cwd = join(folder, 'app')
      const entry = join(cwd, `park-${format}-entry.cjs`)
      writeFileSync(entry, `require('ebb/park')\n${PLAIN_SERVER}`)
      writeFileSync(join(cwd, `park-${format}-entry.mjs`), `import 'ebb/park'\nimport './park-${format}-plain.cjs'`)
      writeFileSync(join(cwd, `park-${format}-plain.cjs`), PLAIN_SERVER)
      const outfile = join(cwd, `park-${format}.${format === 'esm' ? 'mjs' : 'cjs'}`)
      const banner =
        "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);"
      await build({
        entryPoints: [format === 'esm' ? entry.replace(/cjs$/, 'mjs') : entry],
        outfile,
        bundle: true,
        platform: 'node',
        format,
        banner: { js: format === 'esm' ? banner : '' },
        logLevel: 'silent'
      })
      for (const version of [OLDEST, '26']) {
        expect(run(nodeAt(version), [outfile], { cwd })).toMatchObject({ status: 0, stdout: 'woken\n' })
      }
    })

    test('a program in CommonJS', async () => {
      const cwd = join(folder, 'app')
      writeFileSync(join(cwd, 'entry.cjs'), CJS_SERVER)
      await build({
        entryPoints: [join(cwd, 'entry.cjs')],
        outfile: join(cwd, 'bundle.cjs'),
        bundle: true,
        platform: 'node',
        format: 'cjs',
        logLevel: 'silent'
      })
      for (const version of [OLDEST, '26']) expect(run(nodeAt(version), ['bundle.cjs'], { cwd })).toEqual(SERVED)
    })
  })

  describe('without what ebb needs', () => {
    const RELEASE = "import { release } from 'ebb'\nconst { allocator } = await release()\nconsole.log(allocator)\n"

    // Without scripts, because koffi's own compiles the library where it finds a compiler.
    beforeAll(() => {
      const added = install(join(folder, 'bare'), [...tarballs, 'ws'], OLDEST, ['--omit=optional', '--ignore-scripts'])
      expect(added.status, added.stderr).toBe(0)
      expect(existsSync(join(folder, 'bare/node_modules/@koromix'))).toBe(false)
    }, 180_000)

    test('npm i --omit=optional: plain Node and one warning with the reason', () => {
      const served = program(OLDEST, 'server.mjs', ESM_SERVER, [], 'bare')
      expect(served).toMatchObject({ status: 0, stdout: 'false hello\n' })
      expect(served.stderr.match(/Warning:/g)).toHaveLength(1)
      expect(served.stderr).toMatch(/koffi cannot be loaded: .*; the server runs as plain Node/)
      // Collected, but not trimmed: no allocator is known.
      expect(program(OLDEST, 'release.mjs', RELEASE, [], 'bare')).toMatchObject({ status: 0, stdout: 'unknown\n' })
    })

    const WHY =
      ': koffi cannot be loaded: [^\\n]*node_modules/koffi and node_modules/@koromix[^\\n]*no --omit=optional\\)'
    const thrown = (call: string): string => `try { ${call} } catch ({ code, message }) { console.log(code, message) }`

    test.each([
      [
        'listen()',
        `import { listen } from 'ebb/listen'\n${thrown('listen({ port: 0 })')}`,
        'listen() cannot serve connections here'
      ],
      ['ebb/sys', `import { reactor } from 'ebb/sys'\n${thrown('reactor()')}`, 'ebb/sys cannot watch descriptors here'],
      [
        'libc',
        `import { listenOn } from 'ebb/sys'\n${thrown('listenOn(3, 1)')}`,
        'ebb/sys cannot call the kernel here'
      ],
      [
        'proxyProtocol',
        `import { createServer } from 'ebb/net'\n${thrown('createServer({ proxyProtocol: true })')}`,
        'proxyProtocol does not work here'
      ]
    ])('%s throws, and says what it cannot do', (_, text, lost) => {
      const { status, stdout, stderr } = program(OLDEST, 'part.mjs', text, [], 'bare')
      expect(stdout).toMatch(new RegExp(`^ERR_EBB_UNSUPPORTED ${escaped(lost)}${WHY}\\n$`))
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    })

    test.each([
      [
        'park()',
        "import http from 'node:http'\nimport { park } from 'ebb'\npark(http.createServer())",
        'park() cannot park connections here',
        '; the server runs as plain Node'
      ],
      [
        'ebb/net',
        "import { createServer } from 'ebb/net'\ncreateServer()\ncreateServer()",
        'createServer() of ebb/net cannot park connections here',
        '; the server runs as plain Node'
      ],
      [
        'ebb/ws',
        `import { WebSocketServer } from 'ws'\nimport { parkWebSockets } from 'ebb/ws'
        for (let i = 0; i < 2; i++) parkWebSockets(new WebSocketServer({ noServer: true }))`,
        'parkWebSockets() cannot park connections here',
        '; WebSockets stay awake, as with ws alone'
      ],
      [
        'release()',
        `${RELEASE}await release()`,
        "release() returns V8's garbage, but not the memory that malloc keeps",
        ''
      ],
      [
        'govern()',
        `import { govern, release } from 'ebb'\ngovern()\nawait release()`,
        "The governor (ebb/auto, govern()) works in part: it returns V8's garbage, but not the memory that malloc keeps, and does not watch memory pressure",
        ''
      ]
    ])('%s warns once, and says what is lost', (_, text, lost, instead) => {
      const { status, stderr } = program(OLDEST, 'part.mjs', text, [], 'bare')
      const [warning = '', ...others] = stderr.match(/\[EBB_.*\n/g) ?? []
      expect(warning).toMatch(new RegExp(`^\\[EBB_UNSUPPORTED\\] Warning: ${escaped(lost)}${WHY}${instead}\\n$`))
      expect({ status, others }).toEqual({ status: 0, others: [] })
    })

    const serving = ['serve', '--port', '0']
    test.each([
      ['pulse', ['pulse', '1'], 'this machine cannot open the connections', '; send pulses from another machine'],
      [
        'bench',
        ['bench', '--quick'],
        'the experiment cannot send pulses from this machine',
        '; ebb record and ebb report work here'
      ],
      [
        'box',
        ['box', 'box.yaml'],
        'the box cannot put load on its servers from this machine',
        '; ebb record and ebb report work here'
      ],
      [
        'agent',
        ['pulse', '1', '--swarm', 'x'],
        'this machine cannot be an agent that opens connections',
        '; start the agent on another machine'
      ],
      ['serve', serving, 'listen() cannot serve connections here', '; --mode net works everywhere']
    ])('ebb %s: one sentence on what it cannot do', (_, args, lost, instead) => {
      const cwd = join(folder, 'bare')
      writeFileSync(join(cwd, 'box.yaml'), 'servers: [{ command: node server.js, plan: {} }]\n')
      const { status, stdout, stderr } = run(nodeAt(OLDEST), ['node_modules/ebb-lab/bin/ebb.js', ...args], { cwd })
      expect(stderr).toMatch(new RegExp(`^ebb: ERR_EBB_UNSUPPORTED: ${escaped(lost)}${WHY}${instead}\\n$`))
      expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    })

    test('ebb record and ebb report lose nothing', () => {
      const cwd = join(folder, 'bare')
      const ebb = (...args: string[]): Ran => run(nodeAt(OLDEST), ['node_modules/ebb-lab/bin/ebb.js', ...args], { cwd })
      const recorded = ebb('record', '--pid', String(process.pid), '--duration', '500ms', '--out', 'self.ndjson')
      expect(recorded.stderr).not.toContain('koffi')
      expect(ebb('report', 'self.ndjson', '--out', 'report').stderr).not.toContain('koffi')
      expect(recorded.status).toBe(0)
    })

    test('ebb/park without koffi: the server stays as it is, with one warning', () => {
      const source = `
        const server = require('node:http').createServer().listen(0, () => {
          console.log('shutdown' in server, Object.keys(server).includes('close'))
          server.close()
        })`
      const served = program(OLDEST, 'plain.cjs', source, ['-r', 'ebb/park'], 'bare')
      expect(served).toMatchObject({ status: 0, stdout: 'false false\n' })
      expect(served.stderr).toMatch(
        /^\(node:\d+\) \[EBB_UNSUPPORTED\] Warning: ebb\/park cannot park connections here: .*koffi.*; servers run as plain Node\n/
      )
      expect(served.stderr.match(/ebb/gi)).toHaveLength(2)
    })

    test('koffi has a binary for musl', () => {
      const binaries = join(folder, `app/node_modules/@koromix/koffi-linux-${process.arch}`)
      expect(readdirSync(binaries)).toContain(`musl_${process.arch}`)
      const elf = readFileSync(join(binaries, `musl_${process.arch}/koffi.node`), 'latin1')
      expect(elf).toMatch(/libc\.musl-|ld-musl-|libc\.so\0/)
    })

    test('a C library without malloc_trim and mallopt, as musl: parks, and releases without a trim', () => {
      const preload = `
        const Module = require('node:module')
        const load = Module._load
        const missing = /malloc_trim|mallopt|gnu_get_libc_version/
        Module._load = (name, ...rest) => {
          const koffi = load(name, ...rest)
          if (name !== 'koffi') return koffi
          const hide = (library) => new Proxy(library, {
            get: (_, key) => key !== 'func' ? library[key] : (definition, ...more) => {
              if (missing.test(definition)) throw new Error('Cannot find function in shared library')
              const found = library.func(definition, ...more)
              return /dlsym/.test(definition) ? (handle, name) => missing.test(name) ? 0 : found(handle, name) : found
            }
          })
          return { ...koffi, load: (path) => hide(koffi.load(path)) }
        }
      `
      writeFileSync(join(folder, 'app/musl.cjs'), preload)
      expect(program(OLDEST, 'server.mjs', ESM_SERVER, ['-r', './musl.cjs'])).toEqual(SERVED)
      const released = program(OLDEST, 'release.mjs', RELEASE, ['-r', './musl.cjs'])
      expect(released).toEqual({ status: 0, stdout: 'musl\n', stderr: '' })
    })
  })
})
