-- The lab's rows, at every start: the password of Kamailio's role, which reader.sql has made, who may call, and one
-- trunk, which is registered and used for calls. Passwords come from the environment, never from the command line.

\getenv password POSTGRES_PASSWORD
\getenv address LAB_ADDRESS
\getenv trunk_user TRUNK_USER
\getenv trunk_password TRUNK_PASSWORD
\getenv trunk_realm TRUNK_REALM

ALTER ROLE :"role" LOGIN PASSWORD :'password';

DELETE FROM address WHERE tag = 'lab';
INSERT INTO address (grp, ip_addr, mask, tag)
VALUES (1, host(network(:'address'::inet)), masklen(:'address'::inet), 'lab');

DELETE FROM uacreg WHERE l_uuid = 'lab';
INSERT INTO uacreg (l_uuid, l_username, l_domain, r_username, r_domain, realm,
                    auth_username, auth_password, auth_proxy, expires)
VALUES ('lab', 'pbx', 'pbx.example', :'trunk_user', :'trunk_realm', :'trunk_realm',
        :'trunk_user', :'trunk_password', 'sip:carrier:5060', 300);
