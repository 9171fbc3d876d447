/**
 * `npm run build`: compiles both packages, and writes the two editions of `ebb` from its compiled files:
 *
 * - `packages/ebb/dist`: ES modules, a file for each public entry beside files that entries share. A module takes 70 KB
 *   of a process, whatever is in it (docs/performance.md, "Memory at rest").
 * - `packages/ebb/dist/cjs`: CommonJS, a file for each source, so that bundlers leave out what is not used.
 *
 * The server processes of `ebb serve` are two CommonJS files in `packages/ebb-lab/dist/serve`, each with all that it
 * needs of both packages, because their memory is what gets measured.
 *
 * Every Node that is supported loads the ES modules, also by `require()` (export condition `module-sync`), so a process
 * has one copy of the library. The CommonJS edition is for what cannot `require()` ES modules: Jest before Node 24.9,
 * bundlers that write CommonJS, and TypeScript with `module` `node16` or `commonjs`.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/**
 * The entry that every program with `NODE_OPTIONS='--import ebb/auto'` loads at its start. It is one file with all that
 * it imports: a file takes a millisecond.
 */
const ALONE = 'auto.js'
/** Modules of `ebb` that an entry loads by their paths, later. */
const REQUIRED = ['govern/start.js', 'inside/start.js', 'preload/servers.js']

/** Files of `ebb-lab` that become one CommonJS file each, and the names of these. */
const SERVERS = { 'cli/serve-main': 'serve/main', 'serve/serve-child': 'serve/serve-child' }

/**
 * For files that are small in memory. Comments and indentation are left out, because V8 keeps the text of a program in
 * its heap; names stay, and lines are short, for those who read a stack trace. Source maps lead to `src`, which is
 * published.
 *
 * @type {import('esbuild').BuildOptions}
 */
const SMALL = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 120,
  sourcemap: true,
  sourcesContent: false
}
/**
 * For CommonJS.
 *
 * @type {import('esbuild').BuildOptions}
 */
const COMMON_JS = {
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  // Jest cannot `import()` from CommonJS, and it would load Node's loader of ES modules.
  supported: { 'dynamic-import': false },
  define: { 'import.meta.url': 'importMetaUrl' },
  banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href" }
}

const compiled = spawnSync(process.execPath, [join(ROOT, 'node_modules/@typescript/native/bin/tsc'), '-b', ROOT], {
  stdio: 'inherit'
})
if (compiled.status !== 0) process.exit(compiled.status ?? 1)
const EBB = join(ROOT, 'packages/ebb')
const LAB = join(ROOT, 'packages/ebb-lab')
removeStale(join(EBB, 'build'), join(EBB, 'src'))
removeStale(join(LAB, 'dist'), join(LAB, 'src'))
removeStale(join(EBB, 'dist'), join(EBB, 'src'))
await writeModules()
await writeCommonJs()
await writeServers()
for (const name of ['ebb', 'ebb-lab']) copyDocs(join(ROOT, 'packages', name, 'docs'))

/** Copies the documentation into a package, so that it is where the package is installed. `ebb --help` points to it. */
function copyDocs(to) {
  rmSync(to, { recursive: true, force: true })
  const docs = join(ROOT, 'docs')
  for (const path of readdirSync(docs, { recursive: true })) {
    if (path.startsWith('api') || !/\.(?:md|svg)$/.test(path)) continue
    const text = readFileSync(join(docs, path), 'utf8')
    mkdirSync(dirname(join(to, path)), { recursive: true })
    writeFileSync(join(to, path), path.endsWith('.md') ? withoutLinksOut(text, dirname(join(docs, path)), docs) : text)
  }
}

/** Turns links to files outside of the documentation, which the package does not contain, into their text. */
function withoutLinksOut(text, folder, docs) {
  return text.replace(/\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(?:#[^)]*)?\)/g, (link, words, target) =>
    join(folder, target).startsWith(`${docs}${sep}`) ? link : words
  )
}

/**
 * Removes what was compiled from sources that are gone: it would be published.
 *
 * @param {string} folder of compiled files
 * @param {string} sources
 */
function removeStale(folder, sources) {
  for (const path of readdirSync(folder, { recursive: true })) {
    if (path.endsWith('.tsbuildinfo') || /^(?:cjs|shared)(?:[/\\]|$)/.test(path)) continue
    const source = join(sources, path.replace(/\.(?:d\.ts|d\.ts\.map|js|js\.map)$/, '.ts'))
    if (!existsSync(source)) rmSync(join(folder, path), { recursive: true, force: true })
  }
}

/**
 * Writes the ES modules of `ebb`: the public entries, and the modules that an entry requires by their paths.
 *
 * @returns the paths of the files
 */
async function writeModules() {
  const [from, dist] = ['build', 'dist'].map((folder) => join(EBB, folder))
  const entries = readdirSync(from).filter((path) => path.endsWith('.js') && path !== ALONE)
  const paths = (files) => files.map((path) => join(from, path))
  /** @type {import('esbuild').BuildOptions} */
  const options = {
    ...SMALL,
    outbase: from,
    outdir: dist,
    chunkNames: 'shared/[hash]',
    packages: 'external',
    format: 'esm',
    write: false
  }
  const results = await Promise.all([
    build({ ...options, entryPoints: paths([...entries, ...REQUIRED]), splitting: true }),
    build({ ...options, entryPoints: paths([ALONE]), plugins: [{ name: 'required', setup: leaveOutRequired }] })
  ])
  const outputFiles = results.flatMap((result) => result.outputFiles)
  for (const { path, contents } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, contents)
  }
  const written = new Set(outputFiles.map(({ path }) => path))
  for (const path of readdirSync(dist, { recursive: true }).map((path) => join(dist, path))) {
    if (/\.js(?:\.map)?$/.test(path) && !path.startsWith(join(dist, 'cjs')) && !written.has(path)) rmSync(path)
  }
}

/**
 * Leaves the modules that are required by their paths out of a file.
 *
 * @param {import('esbuild').PluginBuild} build
 */
function leaveOutRequired({ onResolve }) {
  onResolve({ filter: /\.js$/ }, ({ path }) => {
    const external = REQUIRED.some((required) => path === `./${required}`)
    return external ? { path, external } : undefined
  })
}

async function writeCommonJs() {
  const [from, types, cjs] = ['build', 'dist', 'dist/cjs'].map((folder) => join(EBB, folder))
  rmSync(cjs, { recursive: true, force: true })
  await build({
    entryPoints: readdirSync(from, { recursive: true })
      .filter((path) => path.endsWith('.js'))
      .map((path) => join(from, path)),
    outdir: cjs,
    ...COMMON_JS
  })
  for (const path of readdirSync(types, { recursive: true })) {
    if (!path.endsWith('.d.ts') || path.startsWith('cjs')) continue
    const text = readFileSync(join(types, path), 'utf8').replace(/\n\/\/# sourceMappingURL=.*/, '')
    mkdirSync(dirname(join(cjs, path)), { recursive: true })
    writeFileSync(join(cjs, path), text)
  }
  writeFileSync(join(cjs, 'package.json'), `${JSON.stringify({ type: 'commonjs' })}\n`)
}

/** Writes the files of the server processes of `ebb serve`. */
async function writeServers() {
  await build({
    ...SMALL,
    ...COMMON_JS,
    entryPoints: Object.entries(SERVERS).map(([from, to]) => ({ in: join(LAB, 'dist', `${from}.js`), out: to })),
    outdir: join(LAB, 'dist'),
    outExtension: { '.js': '.cjs' },
    external: ['koffi'],
    plugins: [{ name: 'library', setup: ({ onResolve }) => onResolve({ filter: /^ebb\// }, librarySource) }]
  })
}

/** Finds an entry of the library among its compiled files, from which esbuild leaves out what is not used. */
function librarySource({ path }) {
  return { path: join(EBB, 'build', `${path.slice('ebb/'.length)}.js`) }
}
