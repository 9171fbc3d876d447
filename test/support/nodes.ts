/** Other versions of Node, from npm, and npm itself. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Where `npm run matrix` keeps them, too. */
const CACHE = join(ROOT, 'node_modules/.cache/ebb')

export interface Ran {
  status: number | null
  stdout: string
  stderr: string
}

export interface RunOptions {
  cwd: string
  env?: NodeJS.ProcessEnv
  /** Path of the Node that comes first in `PATH`. Default: the present one. */
  node?: string
}

/** Runs a command with a Node of choice first in `PATH`. */
export function run(command: string, args: string[], { cwd, env = {}, node = process.execPath }: RunOptions): Ran {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    timeout: 180_000,
    env: { ...process.env, ...env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` }
  })
  return { status, stdout, stderr }
}

/** Runs the npm of the present Node, on a Node of choice. */
export function npm(args: string[], options: RunOptions): Ran {
  const script = run('sh', ['-c', 'command -v npm'], { cwd: options.cwd }).stdout.trim()
  // Settings of the npm that runs this test (such as the prefix) are not for this one.
  const env = Object.fromEntries(
    Object.keys(process.env).flatMap((name) => (/^npm_/i.test(name) ? [[name, undefined]] : []))
  )
  return run(options.node ?? process.execPath, [realpathSync(script), ...args], {
    ...options,
    env: { ...env, ...options.env }
  })
}

/** Tells whether the registry answers. */
export function registryAnswers(): boolean {
  return npm(['view', 'koffi', 'version', '--fetch-retries=0', '--fetch-timeout=10000'], { cwd: ROOT }).status === 0
}

const pathOf = (version: string): string =>
  join(CACHE, `node-${version}`, 'node_modules', `node-linux-${process.arch}`, 'bin/node')

/**
 * Returns the path of another Node that is on this machine already; undefined if there is none: `npm run matrix`
 * installs it.
 *
 * @param version as of {@link nodeOf}; `EBB_NODE_26` may name the path of one
 */
export function installedNode(version: string): string | undefined {
  const path = process.env[`EBB_NODE_${version}`] ?? pathOf(version)
  return existsSync(path) ? path : undefined
}

/**
 * Returns the path of a Node: the newest of a line (`22`), or one version (`20.19.0`).
 *
 * @throws Error if npm cannot install it
 */
export function nodeOf(version: string): string {
  const folder = join(CACHE, `node-${version}`)
  const name = `node-linux-${process.arch}`
  const path = pathOf(version)
  if (existsSync(path)) return path
  mkdirSync(folder, { recursive: true })
  // A package of its own, because npm would find the workspace further up.
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
  const { status, stderr } = npm(
    ['install', '--no-package-lock', '--ignore-scripts', '--loglevel', 'error', `${name}@${version}`],
    { cwd: folder }
  )
  if (status !== 0) throw new Error(`Node ${version} could not be installed (${name}@${version}): ${stderr}`)
  return path
}
