/**
 * `node proxy.mjs nginx|haproxy PORT CONNECTIONS`: starts a proxy in TCP mode, and behind it, on a Unix socket, a
 * server that reads and drops.
 *
 * The proxy is a process of its own and the only one that listens on TCP, so it is the process that is measured.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listen } from 'ebb'

/** @type {Readonly<Record<string, { template: string, args: readonly string[] }>>} */
const PROXIES = {
  nginx: { template: 'nginx.conf', args: ['-c'] },
  haproxy: { template: 'haproxy.cfg', args: ['-db', '-f'] }
}

/** Descriptors of nginx besides the two of each connection. */
const SPARE = 64

const [name = '', port = '', connections = ''] = process.argv.slice(2)
const proxy = PROXIES[name]
if (proxy === undefined) throw new Error(`no such proxy: ${name}; there are ${Object.keys(PROXIES).join(', ')}`)
const directory = mkdtempSync(join(tmpdir(), 'ebb-proxy-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))

listen({ path: join(directory, 'behind') })

const values = new Map([
  ['directory', directory],
  ['port', port],
  ['connections', connections],
  ['sockets', String(2 * Number(connections) + SPARE)]
])
const template = readFileSync(new URL(proxy.template, import.meta.url), 'utf8')
const file = join(directory, proxy.template)
writeFileSync(
  file,
  template.replace(/\{(\w+)\}/g, (placeholder, key) => values.get(key) ?? placeholder)
)

const child = spawn(name, [...proxy.args, file], {
  stdio: 'inherit',
  // Debian installs servers into /usr/sbin, which is not in every user's PATH.
  env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }
})
child.on('error', (error) => {
  console.error(`cannot start ${name}: ${error.message}`)
  process.exit(1)
})
child.on('exit', (code) => process.exit(code ?? 1))
// This process ends when the proxy has ended.
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => child.kill(signal))
