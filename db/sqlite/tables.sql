-- The tables that calls need: three as Kamailio 5.6 to 6.1 has them (uacreg version 5, address version 6), and trunk.
-- Run any number of times: what is there already stays as it is. `make db` runs this file.

CREATE TABLE IF NOT EXISTS version (
    id INTEGER PRIMARY KEY NOT NULL,
    table_name VARCHAR(32) NOT NULL,
    table_version INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT version_table_name_idx UNIQUE (table_name)
);

CREATE TABLE IF NOT EXISTS uacreg (
    id INTEGER PRIMARY KEY NOT NULL,
    l_uuid VARCHAR(64) DEFAULT '' NOT NULL,
    l_username VARCHAR(64) DEFAULT '' NOT NULL,
    l_domain VARCHAR(64) DEFAULT '' NOT NULL,
    r_username VARCHAR(64) DEFAULT '' NOT NULL,
    r_domain VARCHAR(64) DEFAULT '' NOT NULL,
    realm VARCHAR(64) DEFAULT '' NOT NULL,
    auth_username VARCHAR(64) DEFAULT '' NOT NULL,
    auth_password VARCHAR(64) DEFAULT '' NOT NULL,
    auth_ha1 VARCHAR(128) DEFAULT '' NOT NULL,
    auth_proxy VARCHAR(255) DEFAULT '' NOT NULL,
    expires INTEGER DEFAULT 0 NOT NULL,
    flags INTEGER DEFAULT 0 NOT NULL,
    reg_delay INTEGER DEFAULT 0 NOT NULL,
    contact_addr VARCHAR(255) DEFAULT '' NOT NULL,
    socket VARCHAR(128) DEFAULT '' NOT NULL,
    CONSTRAINT uacreg_l_uuid_idx UNIQUE (l_uuid)
);

CREATE TABLE IF NOT EXISTS address (
    id INTEGER PRIMARY KEY NOT NULL,
    grp INTEGER DEFAULT 1 NOT NULL,
    ip_addr VARCHAR(50) NOT NULL,
    mask INTEGER DEFAULT 32 NOT NULL,
    port SMALLINT DEFAULT 0 NOT NULL,
    tag VARCHAR(64)
);

-- Optional, and no table of Kamailio's: how calls use a trunk, by the l_uuid of its row in uacreg. A trunk without a row
-- here has the defaults.
CREATE TABLE IF NOT EXISTS trunk (
    id INTEGER PRIMARY KEY NOT NULL,
    l_uuid VARCHAR(64) NOT NULL,
    enabled INTEGER DEFAULT 1 NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    weight INTEGER DEFAULT 1 NOT NULL,
    max_calls INTEGER DEFAULT 0 NOT NULL,
    max_cps INTEGER DEFAULT 0 NOT NULL,
    probe INTEGER DEFAULT 0 NOT NULL,
    source_tag VARCHAR(64) DEFAULT '' NOT NULL,
    inbound_uri VARCHAR(255) DEFAULT '' NOT NULL,
    from_user VARCHAR(64) DEFAULT '' NOT NULL,
    from_domain VARCHAR(128) DEFAULT '' NOT NULL,
    identity VARCHAR(8) DEFAULT '' NOT NULL,
    weakest_algorithm VARCHAR(16) DEFAULT '' NOT NULL,
    answers_far_end INTEGER DEFAULT 0 NOT NULL,
    asks_alone INTEGER DEFAULT 0 NOT NULL,
    strip INTEGER DEFAULT 0 NOT NULL,
    prefix VARCHAR(32) DEFAULT '' NOT NULL,
    number_format VARCHAR(16) DEFAULT 'as-dialled' NOT NULL,
    country VARCHAR(2) DEFAULT '' NOT NULL,
    tls_verify INTEGER DEFAULT 1 NOT NULL,
    CONSTRAINT trunk_l_uuid_idx UNIQUE (l_uuid)
);

INSERT INTO version (table_name, table_version)
SELECT 'version', 1 WHERE NOT EXISTS (SELECT 1 FROM version WHERE table_name = 'version');

INSERT INTO version (table_name, table_version)
SELECT 'uacreg', 5 WHERE NOT EXISTS (SELECT 1 FROM version WHERE table_name = 'uacreg');

INSERT INTO version (table_name, table_version)
SELECT 'address', 6 WHERE NOT EXISTS (SELECT 1 FROM version WHERE table_name = 'address');

INSERT INTO version (table_name, table_version)
SELECT 'trunk', 1 WHERE NOT EXISTS (SELECT 1 FROM version WHERE table_name = 'trunk');
