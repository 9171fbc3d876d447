/**
 * `node proxy.mjs nginx|haproxy PORT CONNECTIONS`: the proxy in TCP mode, for so many at once, and behind it, on a Unix socket, a server that accepts and drops.
 *
 * The proxy is a process of its own and the only one that listens on TCP: it is the one that is measured.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listen } from 'ebb'

const PROXIES = {
  nginx: { template: 'nginx.conf', command: (file) => ['nginx', '-c', file] },
  haproxy: { template: 'haproxy.cfg', command: (file) => ['haproxy', '-db', '-f', file] }
}

/** Descriptors of nginx besides those of its connections and their other ends. */
const SPARE = 64

const [name, port, connections] = process.argv.slice(2)
const { template, command } = PROXIES[name]
const directory = mkdtempSync(join(tmpdir(), 'ebb-proxy-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))

listen({ path: join(directory, 'behind') })

const values = { directory, port, connections, sockets: 2 * connections + SPARE }
const text = readFileSync(new URL(template, import.meta.url), 'utf8')
const file = join(directory, template)
writeFileSync(
  file,
  text.replace(/\{(\w+)\}/g, (_, key) => values[key])
)

const [program, ...args] = command(file)
const proxy = spawn(program, args, {
  stdio: 'inherit',
  // Where Debian has it, which is not in everybody's PATH.
  env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }
})
proxy.on('error', (error) => {
  console.error(`cannot start ${name}: ${error.message}`)
  process.exit(1)
})
proxy.on('exit', (code) => process.exit(code ?? 1))
// The end is for the whole group: the proxy's own is waited for.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => proxy.kill(signal))
