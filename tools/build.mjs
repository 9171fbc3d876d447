/**
 * `npm run build`: compiles both packages, then writes the CommonJS edition of `ebb` to `packages/ebb/dist/cjs`.
 *
 * Every Node that is supported loads the ES modules, also by `require()` (export condition `module-sync`), so a process
 * has one copy of the library. The CommonJS edition is for what cannot `require()` ES modules: Jest before Node 24.9,
 * bundlers that write CommonJS, and TypeScript with `module` `node16` or `commonjs`.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

const compiled = spawnSync(process.execPath, [join(ROOT, 'node_modules/@typescript/native/bin/tsc'), '-b', ROOT], {
  stdio: 'inherit'
})
if (compiled.status !== 0) process.exit(compiled.status ?? 1)
for (const name of ['ebb', 'ebb-lab']) removeStale(join(ROOT, 'packages', name))
await writeCommonJs(join(ROOT, 'packages/ebb/dist'))
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

/** Removes what was compiled from sources that are gone: it would be published. */
function removeStale(folder) {
  const dist = join(folder, 'dist')
  for (const path of readdirSync(dist, { recursive: true })) {
    const source = join(folder, 'src', path.replace(/\.(?:d\.ts|d\.ts\.map|js|js\.map)$/, '.ts'))
    if (path.endsWith('.tsbuildinfo') || path.startsWith('cjs') || existsSync(source)) continue
    rmSync(join(dist, path), { recursive: true, force: true })
  }
}

async function writeCommonJs(dist) {
  const cjs = join(dist, 'cjs')
  rmSync(cjs, { recursive: true, force: true })
  const files = readdirSync(dist, { recursive: true })
  await build({
    entryPoints: files.filter((path) => path.endsWith('.js')).map((path) => join(dist, path)),
    outdir: cjs,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    // Jest cannot `import()` from CommonJS.
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': 'importMetaUrl' },
    banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href" }
  })
  for (const path of files.filter((path) => path.endsWith('.d.ts'))) {
    cpSync(join(dist, path), join(cjs, path))
    writeFileSync(join(cjs, path), readFileSync(join(cjs, path), 'utf8').replace(/\n\/\/# sourceMappingURL=.*/, ''))
  }
  writeFileSync(join(cjs, 'package.json'), `${JSON.stringify({ type: 'commonjs' })}\n`)
}
